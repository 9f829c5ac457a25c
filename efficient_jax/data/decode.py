"""Decodes many images on all cores: files, bytes or arrays become one uint8 array."""

import os
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from efficient_jax.data.framing import Framing, check, squash
from efficient_jax.data.identity import DIGEST, digest
from efficient_jax.data.progress_bar import watched
from efficient_jax.data.stored_image import Framed, ImageLike, frame, loaded, opened, pixels, reason
from efficient_jax.errors import UserError, counted, few

CHUNK = 64  # images per task of a thread
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
NAMED = 5  # most unreadable images that a message lists


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
            the first that can be read once more if `framing.size` is 0).
        count: number of images, whose indices are 0..count-1.
        framing: how images become one size.

    Raises: UserError for an unknown framing, and for images that do not fit into memory.
    """
    shape = shape_of(read, count, framing)
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


def shape_of(read: Callable[[int], ImageLike], count: int, framing: Framing) -> tuple[int, ...]:
    """Returns the shape [h w c] of all images.

    Args:
        read: returns the image of an index: a file, its content, or pixels.
        count: number of images.
        framing: how images become one size; with size 0 it is that of the first image that can be read.

    Raises: UserError for an unknown framing.
    """
    check(framing)
    for row in range(0 if framing.size else count):
        try:
            return pixels(opened(read(row)), framing.channels).shape
        except Exception:  # a damaged file makes decoders raise anything; `decode_files` says what
            continue
    return framing.size, framing.size, framing.channels


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


def free_memory() -> int:
    """Returns the bytes of memory that are free, with those of caches where the system tells them."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
