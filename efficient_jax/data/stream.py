"""Datasets larger than memory: images are decoded on access, and their metadata comes from one initial pass."""

import functools
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from efficient_jax.data import cache, decode, statistics
from efficient_jax.data.decode import Decoded, ImageLike
from efficient_jax.data.framing import Framing, squash
from efficient_jax.data.identity import DIGEST, digest
from efficient_jax.distributed import log
from efficient_jax.errors import UserError
from efficient_jax.files import write_npz

FEEDS = ("", "memory", "stream")


class Feed(NamedTuple):
    """Where the images of a dataset are during training."""

    kind: str = "memory"  # "memory": decoded once; "stream": decoded on access; "": the former if they fit
    room: int = 0  # bytes of memory for images, for kind ""
    folder: Path | None = None  # cache of decoded images, or of the metadata of streamed ones
    check: Callable[..., Any] | None = None  # what `labelled` calls: raises UserError before images are decoded

    def labelled(
        self,
        labels: np.ndarray,
        classes: Sequence[str],
        fixed: Mapping[str, np.ndarray],
        groups: np.ndarray | None = None,
        task: str = "classification",
    ) -> None:
        """Checks the labels of a dataset; its source calls this as soon as it knows them.

        Args:
            labels: int [n ...], of all images.
            classes: name of each class.
            fixed: parts that the source fixes, as in `dataset.Source`.
            groups: int [n], the same for images that belong together; None: there are none.
            task: what a label is, a name of `tasks.TASKS`.

        Raises: UserError where the config does not fit the labels.
        """
        if self.check:
            self.check(labels, tuple(classes), fixed, groups, task)


IN_MEMORY = Feed()


class Known(NamedTuple):
    """The metadata of the n images that can be read, from one pass over all."""

    rows: Int[np.ndarray, " n"]  # their indices among all images
    contents: UInt8[np.ndarray, "n 16"]  # digests of the files
    digests: UInt8[np.ndarray, "n 16"]  # digests of the pixels
    sums: Int[np.ndarray, "n c"]  # of the pixel values of each channel, in 0..255
    squares: Int[np.ndarray, "n c"]  # sums of their squares
    sizes: Int[np.ndarray, "n 2"]  # height and width before the resize, in pixels


class Streamed:
    """uint8 images [n h w c] that are decoded on access, indexed like an array: `images[indices]`.

    Decoding takes one thread per core; any thread may ask. An image equals that of the first pass, or is an error.
    """

    def __init__(
        self,
        read: Callable[[int], ImageLike],
        name: Callable[[int], str],
        framing: Framing,
        stored: tuple[int, ...],
        known: Known,
        size: int = 0,
    ) -> None:
        self.known = known
        self.shape = (len(known.rows), size or stored[0], size or stored[1], stored[2])
        self._decoding = read, name, framing, stored
        # Not undone: warnings.catch_warnings is not thread-safe, and the first pass has listed what PIL warns of.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, ids: Any) -> UInt8[np.ndarray, "*ids h w c"]:
        """Returns images by index. Raises: UserError for an image that can no longer be read, or has changed."""
        places = np.arange(len(self))[ids]
        images = np.empty((places.size, *self.shape[1:]), np.uint8)
        part = max(1, min(decode.CHUNK, places.size // (2 * decode.CORES)))

        def fill(start: int) -> None:
            for i, place in enumerate(places.flat[start : start + part], start):
                images[i] = self._image(place)

        list(_decoders().map(fill, range(0, places.size, part)))
        return images.reshape(*places.shape, *self.shape[1:])

    def resized(self, size: int) -> "Streamed":
        """Returns the images resized to squares after decoding.

        Args:
            size: side in pixels; 0: as they are.
        """
        same = not size or self.shape[1:3] == (size, size)
        return self if same else Streamed(*self._decoding, self.known, size)

    def at(self, rows: Int[np.ndarray, " m"]) -> "Streamed":
        """Returns the images at some indices, in this order; nothing is decoded.

        Args:
            rows: int [m], indices, also repeated ones.
        """
        known = Known(*(array[rows] for array in self.known))
        return Streamed(*self._decoding, known, 0 if self.shape[1:] == self._decoding[3] else self.shape[1])

    def digests(self) -> list[bytes]:
        """Returns a digest of the pixels of each image, before they are resized."""
        return [row.tobytes() for row in self.known.digests]

    def mean_std(self, ids: Int[np.ndarray, " m"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns `statistics.mean_std` of some images, before they are resized.

        Args:
            ids: int [m], their indices.
        """
        _, _, _, (h, w, _) = self._decoding
        return statistics.of_sums(self.known.sums[ids], self.known.squares[ids], h * w)

    def constant(self) -> Bool[np.ndarray, " n"]:
        """Returns a mask bool [n] of images whose pixels are all equal, before they are resized."""
        _, _, _, (h, w, _) = self._decoding
        mask: np.ndarray = (h * w * self.known.squares == self.known.sums**2).all(1)
        return mask

    def _image(self, place: int) -> UInt8[np.ndarray, "h w c"]:
        read, name, framing, stored = self._decoding
        row = int(self.known.rows[place])
        try:
            content = decode.loaded(read(row))
        except Exception as error:  # a reader may raise anything
            raise UserError(_changed(name(row), f"cannot be read any more ({decode.reason(error)})")) from error
        # The file's digest: it costs a tenth of the image's, and nothing else can have changed.
        if digest(content) != self.known.contents[place].tobytes():
            raise UserError(_changed(name(row), "is not what it was at the start"))
        image = decode.frame(content, framing, stored).image
        if self.shape[1:] != stored:
            image = decode.frame(image, squash(self.shape[1], stored[2]), self.shape[1:]).image
        return image


def load(
    read: Callable[[int], ImageLike],
    name: Callable[[int], str],
    count: int,
    framing: Framing,
    feed: Feed,
    files: Sequence[Path],
    about: str,
) -> Decoded:
    """Returns all images, decoded (`cache.decode_all`) or `Streamed`, as the feed says.

    Streamed images are all decoded once first, for their metadata and to leave out the unreadable ones. The feed's
    folder keeps that.

    Args:
        read: returns the image of an index: a file, its content, or pixels.
        name: returns the name of an index for messages.
        count: number of images.
        framing: how images become one size.
        feed: whether images are decoded on access, and the folder of the cache.
        files: files that `read` reads, which the cache depends on.
        about: what `read` takes from them, which the cache depends on.

    Returns: the images that can be read, and what is wrong with the others.

    Raises: UserError for an unknown framing, and for images that do not fit into memory.
    """
    if feed.kind == "memory":
        return cache.decode_all(read, count, framing, feed.folder, files, about)
    shape, failed = decode.shape_of(read, count, framing)
    needed = count * int(np.prod(shape))
    if failed or (not feed.kind and needed <= feed.room):
        return cache.decode_all(read, count, framing, feed.folder, files, about)
    table = feed.folder / f"{cache.key(files, f'{framing} {about}')}.known.npz" if feed.folder else None
    first_pass = _kept(table) if table else None
    if not first_pass or cache.mended(read, first_pass[1], framing):
        first_pass = _pass(read, count, framing, shape)
        if table:
            _keep(table, *first_pass)
    known, unreadable, notes = first_pass
    why = "" if feed.kind else f", more than the {feed.room / 2**30:.2g} GiB that they may take"
    size = f"{count:,} of {' x '.join(map(str, shape))} are {needed / 2**30:.2g} GiB{why}"
    images = Streamed(read, name, framing, shape, known)
    notes = *notes, f"images are decoded whenever they are used: {size}"
    return Decoded(images, known.rows, unreadable, notes, known.sizes, known.contents)


def _pass(
    read: Callable[[int], ImageLike], count: int, framing: Framing, shape: tuple[int, ...]
) -> tuple[Known, dict[int, str], tuple[str, ...]]:
    contents, digests = np.zeros((2, count, DIGEST), np.uint8)
    sums, squares = np.zeros((2, count, shape[-1]), np.int64)
    sizes, levels = np.zeros((count, 2), np.int32), np.arange(256)

    def know(row: int, content: bytes | np.ndarray, framed: decode.Framed) -> None:
        image, _, sizes[row] = framed
        counts = np.stack([np.bincount(image[..., i].ravel(), minlength=256) for i in range(shape[-1])])
        sums[row], squares[row] = counts @ levels, counts @ levels**2
        for table, value in ((contents, content), (digests, image)):
            table[row] = np.frombuffer(digest(value), np.uint8)

    unreadable, notes = decode.decode_files(read, count, framing, shape, know)
    rows = np.setdiff1d(np.arange(count), list(unreadable))
    return Known(rows, contents[rows], digests[rows], sums[rows], squares[rows], sizes[rows]), unreadable, notes


def _keep(table: Path, known: Known, unreadable: dict[int, str], notes: tuple[str, ...]) -> None:
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        about = json.dumps({"unreadable": list(unreadable.items()), "notes": notes})
        write_npz(table, known._asdict() | {"said": np.array(about)})
    except OSError as error:
        log(f"the metadata of the images is not cached in {table.parent}: {error.strerror}")


def _kept(table: Path) -> tuple[Known, dict[int, str], tuple[str, ...]] | None:
    if not table.is_file():
        return None
    try:
        with table.open("rb") as file, np.load(file) as arrays:
            about = json.loads(str(arrays["said"]))
            known = Known(*(arrays[name] for name in Known._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return known, dict(map(tuple, about["unreadable"])), tuple(about["notes"])


def _changed(name: str, how: str) -> str:
    return (
        f"config.data.source: {name} {how}; put the image back as it was, and the same command carries on from the "
        "last checkpoint"
    )


@functools.cache
def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(decode.CORES, "decoder")
