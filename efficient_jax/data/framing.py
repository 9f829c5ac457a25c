"""Crop and resize: how an image of any size becomes a square."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from efficient_jax.errors import UserError
from efficient_jax.settings import choose

FITS = ("crop", "squash", "pad")
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
GREY = 128
"""The gray level that "pad" adds: near 0 once a dataset's mean is subtracted, as in the padding of convolutions."""


class Framing(NamedTuple):
    """How images become one size; see `place`."""

    size: int  # side in pixels; 0: images stay as they are, and must all have one size
    fit: str = "crop"  # a name of `FITS`
    crop: float = 1.0  # share of the shorter side that "crop" keeps, in (0, 1]
    interpolation: str = "bicubic"
    channels: int = 3  # 3 (color) or 1 (gray)
    draft: bool = False  # whether JPEGs are decoded at a reduced scale, see `reduced`


def place(w: int, h: int, size: int, fit: str, crop: float) -> tuple[int, int, int, int]:
    """Returns the size to which an image is resized, and where it lies in the square that is seen.

    "crop": the shorter side becomes round(size / crop), and the square is the middle, as in the evaluation of
    torchvision and timm. "squash": both sides become `size`. "pad": the longer side becomes `size`, and the image is
    the middle.

    Args:
        w: width of the image in pixels, 1 or more.
        h: height of the image in pixels, 1 or more.
        size: side of the square in pixels, 1 or more.
        fit: a name of `FITS`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].

    Returns: (width, height, left, top) in pixels: the new size, and the image's upper left corner in the square;
    negative where the square cuts it.
    """
    if fit == "squash":
        return size, size, 0, 0
    if fit == "pad":
        width, height = (max(1, round(side * size / max(w, h))) for side in (w, h))
        return width, height, (size - width) // 2, (size - height) // 2
    shorter = round(size / crop)
    width, height = (int(shorter * side / min(w, h)) for side in (w, h))
    return width, height, -round((width - size) / 2), -round((height - size) / 2)


def fit(
    image: Image.Image | UInt8[np.ndarray, "h w c"],
    size: int,
    fit: str,
    crop: float,
    interpolation: str,
    whole: tuple[int, int] | None = None,
    scale: int = 1,
) -> UInt8[np.ndarray, "size size c"]:
    """Returns an image as a square, resized as `place` says with an antialiasing filter; "pad" adds gray.

    Args:
        image: a PIL image, or uint8 [h w c].
        size: side of the square in pixels, 1 or more.
        fit: a name of `FITS`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: a name of `INTERPOLATIONS`.
        whole: width and height in pixels of the image before its sides were divided by `scale` and rounded up; None:
            it has its own scale.
        scale: 1 or more.

    Returns: uint8 [size size c].
    """
    image = from_array(image) if isinstance(image, np.ndarray) else image
    w, h = whole or image.size
    resample = INTERPOLATIONS[interpolation]
    width, height, left, top = place(w, h, size, fit, crop)
    if left < 0 or top < 0 or width > size or height > size:
        # Only the visible part is resized: equal pixels, and an image of 1 x 60,000 does not fill the memory.
        x, y, right, bottom = -left * w / width, -top * h / height, (size - left) * w / width, (size - top) * h / height
        box = (x / scale, y / scale, right / scale, bottom / scale)
        return as_array(image.resize((size, size), resample, box=box))
    inner = as_array(image.resize((width, height), resample, box=(0, 0, w / scale, h / scale)))
    if (width, height) == (size, size):
        return inner
    square = np.full((size, size, inner.shape[-1]), GREY, np.uint8)
    square[top : top + height, left : left + width] = inner
    return square


def reduced(image: Image.Image, framing: Framing) -> int:
    """Has a JPEG decoded at a reduced scale, and returns that scale: 8, 4, 2, or 1 where it is decoded as it is.

    Both sides stay at least twice as long as those to which they are resized. Levels then differ by less than half a
    level on average from those of the whole image, by 15 at most (tests/benchmarks/README.md). The whole image remains
    the default, so that accuracy does not depend on how large an image was stored.

    Args:
        image: opened, not decoded, not turned yet.
        framing: how it becomes a square; its size is not 0.
    """
    w, h = image.size
    width, height, _, _ = place(w, h, framing.size, framing.fit, framing.crop)
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 1
    for scale in (8, 4, 2):
        # Sides are rounded up: where an image is turned, what was added would lie on the other edge.
        exact = not turned or (w % scale == 0 and h % scale == 0)
        if min(w // scale - 2 * width, h // scale - 2 * height) >= 0 and exact:
            return scale if image.draft(None, (w // scale, h // scale)) else 1  # None: not a JPEG
    return 1


def squash(size: int, channels: int) -> Framing:
    """Returns the framing that resizes both sides to `size`.

    Args:
        size: side of the square in pixels.
        channels: 3 (color) or 1 (gray).
    """
    return Framing(size, "squash", channels=channels)


def check(framing: Framing) -> None:
    """Checks the settings of a framing.

    Args:
        framing: from `config.data.source`.

    Raises: UserError for an unknown name, and for a number out of range.
    """
    where = "config.data.source"
    choose(framing.fit, dict.fromkeys(FITS), f"{where}.fit")
    choose(framing.interpolation, INTERPOLATIONS, f"{where}.interpolation")
    if framing.size < 0:
        raise UserError(f"{where}.size: {framing.size} is not a number of pixels")
    if not 0 < framing.crop <= 1:
        raise UserError(f"{where}.crop: {framing.crop} is not a share of the image, in (0, 1]")
    if framing.draft and not framing.size:
        raise UserError(f"{where}.draft: JPEGs are decoded at a reduced scale for a smaller size; say {where}.size")
    if framing.channels not in (1, 3):
        raise UserError(f"{where}.channels: {framing.channels} asked; want 3 (color) or 1 (gray)")


def from_array(pixels: np.ndarray) -> Image.Image:
    """Returns an array as a PIL image.

    Args:
        pixels: uint8 [h w] or [h w c], c of 1, 3 or 4.

    Raises: ValueError for another dtype.
    """
    if pixels.dtype != np.uint8:
        raise ValueError(f"{pixels.dtype} {list(pixels.shape)}; want uint8")
    return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)


def as_array(image: Image.Image) -> np.ndarray:
    """Returns a PIL image as uint8 [h w c].

    Args:
        image: of 8-bit channels.
    """
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]
