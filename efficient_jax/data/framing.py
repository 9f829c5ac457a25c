"""How a picture of any size becomes a square."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from efficient_jax.errors import UserError
from efficient_jax.settings import choose

FITS = ("crop", "squash", "pad")
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
GREY = 128
"""What "pad" adds: near 0 once the mean of an image set is subtracted, which is what convolutions pad with."""


class Framing(NamedTuple):
    """The shape that pictures get."""

    size: int  # pixels of each side; 0 takes pictures as they are, which must then all have one size
    fit: str = "crop"
    crop: float = 1.0
    interpolation: str = "bicubic"
    channels: int = 3  # 1 makes colours grey


def place(w: int, h: int, size: int, fit: str, crop: float) -> tuple[int, int, int, int]:
    """(width, height, left, top): the size to which the whole of a picture of w x h pixels is resized, and where its
    upper left corner then is in the square of `size` pixels that is seen of it.

    "crop": the shorter side becomes round(size / crop), and the square is the middle, as in torchvision's and timm's
    evaluation. "squash": both sides become `size`. "pad": the longer side becomes `size`, the picture is the middle.
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
    image: Image.Image | UInt8[np.ndarray, "h w c"], size: int, fit: str, crop: float, interpolation: str
) -> UInt8[np.ndarray, "size size c"]:
    """`image` as a square of `size` pixels, resized as `place` says with an antialiasing filter; "pad" adds grey."""
    image = from_array(image) if isinstance(image, np.ndarray) else image
    w, h = image.size
    resample = INTERPOLATIONS[interpolation]
    width, height, left, top = place(w, h, size, fit, crop)
    if left < 0 or top < 0 or width > size or height > size:
        # Only what is kept is resized: the same pixels, and a strip of 1 x 60,000 does not fill the memory.
        box = (-left * w / width, -top * h / height, (size - left) * w / width, (size - top) * h / height)
        return as_array(image.resize((size, size), resample, box=box))
    inner = as_array(image.resize((width, height), resample))
    if (width, height) == (size, size):
        return inner
    square = np.full((size, size, inner.shape[-1]), GREY, np.uint8)
    square[top : top + height, left : left + width] = inner
    return square


def squash(size: int, channels: int) -> Framing:
    return Framing(size, "squash", channels=channels)


def check(framing: Framing) -> None:
    where = "config.data.source"
    choose(framing.fit, dict.fromkeys(FITS), f"{where}.fit")
    choose(framing.interpolation, INTERPOLATIONS, f"{where}.interpolation")
    if framing.size < 0:
        raise UserError(f"{where}.size: {framing.size} is not a number of pixels")
    if not 0 < framing.crop <= 1:
        raise UserError(f"{where}.crop: {framing.crop} is not a share of the picture, in (0, 1]")
    if framing.channels not in (1, 3):
        raise UserError(f"{where}.channels: {framing.channels} asked; want 3 (colour) or 1 (grey)")


def from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise ValueError(f"{pixels.dtype} {list(pixels.shape)}; want uint8")
    return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)


def as_array(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]
