"""Datasets larger than memory: images are decoded on access, and their metadata comes from one initial pass."""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from efficient_jax.data import cache, decode, statistics, stored_image
from efficient_jax.data.decode import Decoded
from efficient_jax.data.framing import Framing, squash
from efficient_jax.data.identity import digest
from efficient_jax.data.known import SHARD, Known, chunks, know, rows_at
from efficient_jax.data.names import of_column
from efficient_jax.data.stored_image import ImageLike
from efficient_jax.errors import UserError

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
        if known.files is not None:  # mapped, where those of the source are a list
            read, name = known.path, of_column(known.files)
        self._decoding = read, name, framing, stored
        # Not undone: warnings.catch_warnings is not thread-safe, and the first pass has listed what PIL warns of.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, ids: Any) -> UInt8[np.ndarray, "*ids h w c"]:
        """Returns images by index. Raises: UserError for an image that can no longer be read, or has changed."""
        places = rows_at(range(len(self)), ids)
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
        return Streamed(
            *self._decoding, self.known.at(rows), 0 if self.shape[1:] == self._decoding[3] else self.shape[1]
        )

    def mean_std(self, ids: Int[np.ndarray, " m"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns `statistics.mean_std` of some images, before they are resized.

        Args:
            ids: int [m], their indices.
        """
        _, _, _, (h, w, _) = self._decoding
        parts = [ids[i : i + SHARD] for i in range(0, len(ids), SHARD)]
        sums, squares = (
            np.stack([column[part].sum(0) for part in parts]) for column in (self.known.sums, self.known.squares)
        )
        return statistics.of_sums(sums, squares, h * w * len(ids))

    def constant(self) -> Bool[np.ndarray, " n"]:
        """Returns a mask bool [n] of images whose pixels are all equal, before they are resized."""
        _, _, _, (h, w, _) = self._decoding
        pairs = zip(chunks(self.known.sums), chunks(self.known.squares), strict=True)
        return np.concatenate([(h * w * squares == sums**2).all(1) for sums, squares in pairs])

    def _image(self, place: int) -> UInt8[np.ndarray, "h w c"]:
        read, name, framing, stored = self._decoding
        row = int(self.known.rows[place])
        try:
            content = stored_image.loaded(read(row))
        except Exception as error:  # a reader may raise anything
            raise UserError(_changed(name(row), f"cannot be read any more ({stored_image.reason(error)})")) from error
        # The file's digest: it costs a tenth of the image's, and nothing else can have changed.
        if digest(content) != self.known.contents[place].tobytes():
            raise UserError(_changed(name(row), "is not what it was at the start"))
        image = stored_image.frame(content, framing, stored).image
        if self.shape[1:] != stored:
            image = stored_image.frame(image, squash(self.shape[1], stored[2]), self.shape[1:]).image
        return image


def load(
    read: Callable[[int], ImageLike],
    name: Callable[[int], str],
    count: int,
    framing: Framing,
    feed: Feed,
    files: Sequence[Path | str],
    about: str,
    each_own: bool = False,
) -> Decoded:
    """Returns all images, decoded (`cache.decode_all`) or `Streamed`, as the feed says.

    Streamed images are all decoded once first, for their metadata and to leave out the unreadable ones. The feed's
    folder keeps that, see `known.know`.

    Args:
        read: returns the image of an index: a file, its content, or pixels.
        name: returns the name of an index for messages.
        count: number of images.
        framing: how images become one size.
        feed: whether images are decoded on access, and the folder of the cache.
        files: files that `read` reads, which the cache depends on.
        about: what `read` takes from them, which the cache depends on.
        each_own: whether `files` has the file of each image. What is streamed then needs neither it nor `read` or
            `name` any more.

    Returns: the images that can be read, and what is wrong with the others.

    Raises: UserError for an unknown framing, and for images that do not fit into memory.
    """
    if feed.kind == "memory":
        return cache.decode_all(read, count, framing, feed.folder, files, about)
    shape = decode.shape_of(read, count, framing)
    needed = count * int(np.prod(shape))
    if not feed.kind and needed <= feed.room:
        return cache.decode_all(read, count, framing, feed.folder, files, about)
    kept = f"{framing} {about} {SHARD} {Known._fields}"
    folder = feed.folder / f"{cache.key(files, kept)}.known" if feed.folder else None
    known = know(read, count, framing, shape, folder, files if each_own else None)
    why = "" if feed.kind else f", more than the {feed.room / 2**30:.2g} GiB that they may take"
    size = f"{count:,} of {' x '.join(map(str, shape))} are {needed / 2**30:.2g} GiB{why}"
    notes = *decode.change_notes(known.changes, count), f"images are decoded whenever they are used: {size}"
    images = Streamed(read, name, framing, shape, known)
    return Decoded(images, rows_at(known.rows, slice(None)), known.unreadable, notes, known.sizes, known.contents)


def _changed(name: str, how: str) -> str:
    return (
        f"config.data.source: {name} {how}; put the image back as it was, and the same command carries on from the "
        "last checkpoint"
    )


@functools.cache
def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(decode.CORES, "decoder")
