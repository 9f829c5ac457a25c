"""Decodes images of any mode and orientation: files, bytes or arrays become uint8 arrays of one shape."""

import io
import os
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from efficient_jax.data.framing import Framing, as_array, check, fit, from_array, reduced, squash
from efficient_jax.data.identity import DIGEST, digest
from efficient_jax.data.progress_bar import watched
from efficient_jax.errors import UserError, counted, few

MOST_PIXELS = 100_000_000
HEIC = {b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")}  # ISO/IEC 23008-12
ORIENTATION = 0x0112  # the EXIF tag
CHUNK = 64  # images per task of a thread
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
NAMED = 5  # most unreadable images that a message lists

ImageLike = Path | bytes | np.ndarray
"""A file, the content of a file, or pixels: uint8 [h w] or [h w c]."""


class Framed(NamedTuple):
    """An image of the common shape."""

    image: UInt8[np.ndarray, "h w c"]
    changes: list[str]  # what the conversion to 8-bit RGB or gray changed
    size: tuple[int, int]  # height and width before the resize, upright, in pixels


class Decoded(NamedTuple):
    """The images that could be read, and why the others could not."""

    images: Any  # uint8 [n size size channels], an array or `stream.Streamed`
    rows: np.ndarray  # int [n], their indices among all images
    unreadable: dict[int, str]  # index -> reason, in order
    notes: tuple[str, ...]  # what was changed in how many images
    sizes: Any  # int32 [n 2], height and width before the resize, upright, in pixels; or a `known.Column`
    contents: Any  # uint8 [n DIGEST], digests of the files, or of the pixels of arrays; or a `known.Column`


def resized(images: UInt8[np.ndarray, "n h w c"], size: int) -> UInt8[np.ndarray, "n h2 w2 c"]:
    """Returns images resized to squares with an antialiasing filter, uint8 [n size size c].

    Args:
        images: uint8 [n h w c].
        size: side in pixels; 0: as they are.

    Raises: UserError for images that do not fit into memory.
    """
    if not size or images.shape[1:3] == (size, size):
        return images
    decoded: np.ndarray = decode_all(images.__getitem__, len(images), squash(size, images.shape[-1])).images
    return decoded


def decode_all(read: Callable[[int], ImageLike], count: int, framing: Framing) -> Decoded:
    """Returns images that are decoded and resized by as many threads as there are cores.

    Unreadable images, and those of more than 100 million pixels, are left out and listed.

    Args:
        read: returns the image of an index: a file, its content, or pixels. Called from the threads, once for each (for
            the first once more if `framing.size` is 0).
        count: number of images, whose indices are 0..count-1.
        framing: how images become one size.

    Raises: UserError for an unknown framing, and for images that do not fit into memory.
    """
    shape, first = shape_of(read, count, framing)
    if first:
        none = np.zeros((0, DIGEST), np.uint8)
        return Decoded(np.zeros((0, *shape), np.uint8), np.arange(0), {0: first}, (), np.zeros((0, 2), np.int32), none)
    if count * np.prod(shape) > free_memory():
        raise UserError(
            f"config.data.source.size: {counted(count, 'image')} of {' x '.join(map(str, shape))} need "
            f"{count * np.prod(shape) / 2**30:,.1f} GiB, and {free_memory() / 2**30:,.1f} GiB are free; ask for a "
            'smaller size or fewer images, or, of files, for config.data.feed="stream"'
        )
    images, sizes = np.empty((count, *shape), np.uint8), np.zeros((count, 2), np.int32)
    contents = np.zeros((count, DIGEST), np.uint8)

    def keep(row: int, content: bytes | np.ndarray, framed: Framed) -> None:
        images[row], sizes[row] = framed.image, framed.size
        contents[row] = np.frombuffer(digest(content), np.uint8)

    changes, unreadable = decode_files(read, count, framing, shape, keep)
    rows, notes = np.setdiff1d(np.arange(count), list(unreadable)), change_notes(changes, count)
    return Decoded(images[rows] if unreadable else images, rows, unreadable, notes, sizes[rows], contents[rows])


def shape_of(read: Callable[[int], ImageLike], count: int, framing: Framing) -> tuple[tuple[int, ...], str]:
    """Returns (the shape [h w c] of all images, why the first does not tell it or "").

    Args:
        read: returns the image of an index: a file, its content, or pixels.
        count: number of images.
        framing: how images become one size; with size 0 the first image is read.

    Raises: UserError for an unknown framing.
    """
    check(framing)
    if not framing.size and count:
        try:
            return as_array(_convert(opened(read(0)), framing.channels)[0]).shape, ""
        except Exception as error:  # a damaged file makes decoders raise anything
            return (framing.size, framing.size, framing.channels), reason(error)
    return (framing.size, framing.size, framing.channels), ""


def decode_files(
    read: Callable[[int], ImageLike],
    count: int,
    framing: Framing,
    shape: tuple[int, ...],
    use: Callable[[int, bytes | np.ndarray, Framed], None],
    part: str = "",
) -> tuple[Counter[str], dict[int, str]]:
    """Decodes every image once, shows the progress, and returns what could not be read.

    Args:
        read: returns the image of an index: a file, its content, or pixels.
        count: number of images.
        framing: how images become one size.
        shape: shape [h w c] of all images.
        use: called with (index, encoded image, decoded image), in the threads that decode, in any order.
        part: which of more images these are, for the title of the progress.

    Returns: (what was changed in how many images, index -> reason of the unreadable images).
    """

    def decode(start: int) -> tuple[Counter[str], dict[int, str]]:
        changes: Counter[str] = Counter()
        failed = {}
        for row in range(start, min(start + CHUNK, count)):
            try:
                content = loaded(read(row))
                framed = frame(content, framing, shape)
            except Exception as error:  # a damaged file makes decoders raise anything
                failed[row] = reason(error)
            else:
                use(row, content, framed)
                changes.update(framed.changes)
        return changes, failed

    # PIL warns of what is listed here, or of what does not change pixels.
    with warnings.catch_warnings(), ThreadPoolExecutor(CORES) as pool:
        warnings.simplefilter("ignore")
        parts = list(watched(pool.map(decode, range(0, count, CHUNK)), f"decoding images{part}", CHUNK, count))
    changes = sum((changed for changed, _ in parts), Counter())
    return changes, {row: why for _, failed in parts for row, why in failed.items()}


def change_notes(changes: Counter[str], count: int) -> tuple[str, ...]:
    """Returns a note for each change that decoding made: "3 of 41 images were gray: ...".

    Args:
        changes: what was changed in how many images.
        count: number of all images.
    """
    return tuple(
        f"{number:,} of {counted(count, 'image')} {_of(number, change)}" for change, number in sorted(changes.items())
    )


def _of(number: int, what: str) -> str:
    """Returns `what` (were or have something), in the singular for one image."""
    verb, _, rest = what.partition(" ")
    return what if number != 1 else " ".join([{"were": "was", "have": "has"}.get(verb, verb), rest])


def loaded(stored: ImageLike) -> bytes | np.ndarray:
    """Returns an encoded image with its file read: bytes, or pixels as they are.

    Args:
        stored: a file, its content, or pixels.

    Raises: OSError for a file that cannot be read.
    """
    return stored.read_bytes() if isinstance(stored, Path) else stored


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


def listed(unreadable: dict[str, str]) -> str:
    """Returns a list of unreadable images, the first few by name: "2 unreadable images: a.jpg (not an image), b.jpg
    (...)".

    Args:
        unreadable: name -> reason.
    """
    examples = few([f"{name} ({why})" for name, why in unreadable.items()], NAMED)
    return f"{counted(len(unreadable), 'unreadable image')}: {examples}"


def left_out(decoded: Decoded, name: Callable[[int], str], most: int, where: str) -> Decoded:
    """Returns `decoded` with a note that lists the unreadable images.

    Args:
        decoded: what `decode_all` returns.
        name: returns the name of an index for messages.
        most: how many may be unreadable, 0 or more.
        where: the setting that names the images, for messages.

    Raises: UserError for more than `most` unreadable images, or when no image is left.
    """
    if not decoded.unreadable:
        return decoded
    failed = listed({name(row): why for row, why in decoded.unreadable.items()})
    if len(decoded.unreadable) > most:
        raise UserError(
            f"{where}: {failed}; mend or remove them, or leave out up to so many with config.data.source.unreadable"
        )
    if not len(decoded.rows):
        raise UserError(f"{where}: no image is left; {failed}")
    return decoded._replace(notes=(*decoded.notes, f"left out {failed}"))


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
    return as_array(_convert(image.copy(), channels)[0])


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


def free_memory() -> int:
    """Returns the bytes of memory that are free, with those of caches where the system tells them."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
