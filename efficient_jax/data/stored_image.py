"""One image of any mode and orientation: a file, its content or an array becomes uint8 pixels."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from efficient_jax.data.framing import Framing, as_array, fit, from_array, reduced

MOST_PIXELS = 100_000_000
HEIC = {b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")}  # ISO/IEC 23008-12
ORIENTATION = 0x0112  # the EXIF tag

ImageLike = Path | bytes | np.ndarray
"""A file, the content of a file, or pixels: uint8 [h w] or [h w c]."""


class Framed(NamedTuple):
    """An image of the common shape."""

    image: UInt8[np.ndarray, "h w c"]
    changes: list[str]  # what the conversion to 8-bit RGB or gray changed
    size: tuple[int, int]  # height and width before the resize, upright, in pixels


def loaded(stored: ImageLike) -> bytes | np.ndarray:
    """Returns an encoded image with its file read: bytes, or pixels as they are.

    Args:
        stored: a file, its content, or pixels.

    Raises: OSError for a file that cannot be read.
    """
    return stored.read_bytes() if isinstance(stored, Path) else stored


def opened(stored: ImageLike) -> Image.Image:
    """Returns an image of PIL, whose pixels are not decoded yet.

    Args:
        stored: a file, its content, or pixels uint8 [h w] or [h w c].

    Raises: ValueError for more than 100 million pixels, other dtypes, or HEIC without pillow-heif; OSError for no
    image.
    """
    if isinstance(stored, np.ndarray):
        return from_array(stored)
    content = stored if isinstance(stored, bytes) else stored.read_bytes()
    if content[4:12] in HEIC:
        _learn_heic()
    image = Image.open(io.BytesIO(content))
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{image.width:,} x {image.height:,} pixels, more than {MOST_PIXELS:,}")
    return image


def upright_size(stored: ImageLike) -> tuple[int, int]:
    """Returns the width and height of an image in pixels, after the turn that its EXIF orientation asks for.

    Args:
        stored: a file, its content, or pixels.

    Raises: as `opened`.
    """
    return _upright(opened(stored))


def _upright(image: Image.Image) -> tuple[int, int]:
    turned = 5 <= image.getexif().get(ORIENTATION, 1) <= 8
    return (image.height, image.width) if turned else image.size


def _learn_heic() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError("HEIC, which wants pip install pillow-heif") from error
    pillow_heif.register_heif_opener()


def _convert(image: Image.Image, channels: int) -> tuple[Image.Image, list[str]]:
    """Returns (the image, upright, in 8-bit RGB or gray; what that changed)."""
    changes = []
    if getattr(image, "is_animated", False) and image.format != "MPO":  # the others of an MPO are previews
        changes.append("have several frames: the first was taken")
    if 2 <= image.getexif().get(ORIENTATION, 1) <= 8:
        ImageOps.exif_transpose(image, in_place=True)
        changes.append("were turned as their EXIF orientation says")
    is_gray = Image.getmodebase(image.mode) == "L"
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # a PGM, scaled to 65535
        image = Image.fromarray((np.asarray(image).astype(np.uint32) * 255 // 65535).astype(np.uint8))
        changes.append("had 16 bits: 65535 became 255")
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels, whose black and white are unknown; store 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        changes.append("have transparency: they were put on white")
    elif image.mode not in ("RGB", "L", "1", "P"):
        changes.append(f"were {image.mode}: converted to RGB")
    if channels == 3 and is_gray:
        changes.append("were gray: repeated in three channels")
    if channels == 1 and not is_gray:
        changes.append("had colors: made gray")
    mode = "L" if channels == 1 else "RGB"
    image.load()
    return image if image.mode == mode else image.convert("RGB").convert(mode), changes


def pixels(image: Image.Image, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Returns the pixels of a PIL image, upright, in 8 bits, uint8 [h w c]; the image itself is unchanged.

    Args:
        image: of any mode.
        channels: 3 (color) or 1 (gray).

    Raises: ValueError for 32-bit pixels.
    """
    copy = image.copy()
    copy.format = image.format  # which a copy does not have, and which tells what 16 bits mean
    return as_array(_convert(copy, channels)[0])


def frame(stored: ImageLike, framing: Framing, shape: tuple[int, ...]) -> Framed:
    """Returns one image in the common shape.

    Args:
        stored: a file, its content, or pixels.
        framing: how images become one size.
        shape: the common shape [h w c], for `framing.size` 0.

    Raises: any exception, as decoders do for damaged files.
    """
    image = opened(stored)
    whole = _upright(image)
    scale = reduced(image, framing) if framing.draft else 1
    image, changes = _convert(image, framing.channels)
    pixels = fit(image, *framing[:4], whole, scale) if framing.size else _stored(image, shape)
    return Framed(pixels, changes, whole[::-1])


def _stored(image: Image.Image, shape: tuple[int, ...]) -> np.ndarray:
    pixels = as_array(image)
    if pixels.shape != shape:
        h, w, _ = shape
        raise ValueError(
            f"{image.width} x {image.height} pixels, but the first has {w} x {h}: say config.data.source.size"
        )
    return pixels


def reason(error: Exception) -> str:
    """Returns why an image could not be read, in at most 100 characters.

    Args:
        error: what was raised.
    """
    names: dict[type[Exception], str] = {UnidentifiedImageError: "not an image", FileNotFoundError: "not there"}
    text = names.get(type(error)) or str(error) or type(error).__name__
    return " ".join(text.split())[:100]
