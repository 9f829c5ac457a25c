"""Sets that do not fit: images that are decoded when they are asked for, and what is known of all of them before."""

import functools
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from efficient_jax.data import cache, decode, statistics
from efficient_jax.data.decode import Decoded, Picture
from efficient_jax.data.framing import Framing, squash
from efficient_jax.data.identity import DIGEST, digest
from efficient_jax.errors import UserError
from efficient_jax.files import write_npz

FEEDS = ("", "memory", "stream")


class Feed(NamedTuple):
    """Where the images of a set of pictures are while it is trained on."""

    kind: str = "memory"  # decoded once and kept, or "stream": decoded whenever one is asked for; "": what fits
    room: int = 0  # bytes, which decided for "" what fits
    folder: Path | None = None  # where decoded pictures are kept, or what is known of streamed ones
    check: Callable[..., Any] | None = None  # of `labelled`: raises UserError before anything is decoded

    def labelled(
        self,
        labels: np.ndarray,
        classes: Sequence[str],
        tests: int,
        groups: np.ndarray | None = None,
        task: str = "classification",
    ) -> None:
        """Checks the labels of a source, which calls this as soon as it knows them.

        Args:
            labels: int [n ...], of all pictures.
            classes: name of each class.
            tests: so many of the last pictures are the test images.
            groups: int [n], the same for pictures that belong together; None: there are none.
            task: what a label is, a name of `tasks.TASKS`.

        Raises: UserError where the config does not fit the labels.
        """
        if self.check:
            self.check(labels, tuple(classes), tests, groups, task)


IN_MEMORY = Feed()


class Known(NamedTuple):
    """What one pass over all pictures finds out of the n that can be read."""

    rows: Int[np.ndarray, " n"]  # which of the pictures these are
    contents: UInt8[np.ndarray, "n 16"]  # digests of the files as they are
    digests: UInt8[np.ndarray, "n 16"]  # of the images
    sums: Int[np.ndarray, "n c"]  # of the pixels of each channel
    squares: Int[np.ndarray, "n c"]
    sizes: Int[np.ndarray, "n 2"]  # height and width of the pictures before they were fitted


class Streamed:
    """uint8 images [n h w c] that are decoded when they are asked for: `images[ids]`, as of an array.

    By as many threads as there are cores, for any thread. An image is what it was in the first pass, or an error.
    """

    def __init__(
        self,
        read: Callable[[int], Picture],
        name: Callable[[int], str],
        framing: Framing,
        stored: tuple[int, ...],
        known: Known,
        size: int = 0,
    ) -> None:
        self.known = known
        self.shape = (len(known.rows), size or stored[0], size or stored[1], stored[2])
        self._decoding = read, name, framing, stored
        # For good: warnings.catch_warnings is not for several threads, and what PIL warns of was listed before.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, ids: Any) -> UInt8[np.ndarray, "*ids h w c"]:
        """Raises: UserError naming a picture that cannot be read any more, or is another than it was."""
        places = np.arange(len(self))[ids]
        images = np.empty((places.size, *self.shape[1:]), np.uint8)
        part = max(1, min(decode.CHUNK, places.size // (2 * decode.CORES)))

        def fill(start: int) -> None:
            for i, place in enumerate(places.flat[start : start + part], start):
                images[i] = self._image(place)

        list(_decoders().map(fill, range(0, places.size, part)))
        return images.reshape(*places.shape, *self.shape[1:])

    def resized(self, size: int) -> "Streamed":
        """The same images, which are then resized; 0: as they are."""
        same = not size or self.shape[1:3] == (size, size)
        return self if same else Streamed(*self._decoding, self.known, size)

    def at(self, rows: Int[np.ndarray, " m"]) -> "Streamed":
        """The images `rows` in this order, also several times; nothing is decoded."""
        known = Known(*(of_all[rows] for of_all in self.known))
        return Streamed(*self._decoding, known, 0 if self.shape[1:] == self._decoding[3] else self.shape[1])

    def digests(self) -> list[bytes]:
        return [row.tobytes() for row in self.known.digests]

    def mean_std(self, ids: Int[np.ndarray, " m"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """As `statistics.mean_std` of the images `ids`, before they are resized."""
        _, _, _, (h, w, _) = self._decoding
        return statistics.of_sums(self.known.sums[ids], self.known.squares[ids], h * w)

    def constant(self) -> Bool[np.ndarray, " n"]:
        """As `image_quality.constant`, before they are resized: a channel without variance."""
        _, _, _, (h, w, _) = self._decoding
        return (h * w * self.known.squares == self.known.sums**2).all(1)

    def _image(self, place: int) -> UInt8[np.ndarray, "h w c"]:
        read, name, framing, stored = self._decoding
        row = int(self.known.rows[place])
        try:
            content = decode.loaded(read(row))
        except Exception as error:  # whatever the source reads with
            raise UserError(_changed(name(row), f"cannot be read any more ({decode.reason(error)})")) from error
        # Of the file: a tenth of what a digest of the image costs, and nothing else can have changed.
        if digest(content) != self.known.contents[place].tobytes():
            raise UserError(_changed(name(row), "is not what it was at the start"))
        image = decode.frame(content, framing, stored).image
        if self.shape[1:] != stored:
            image = decode.frame(image, squash(self.shape[1], stored[2]), self.shape[1:]).image
        return image


def pictures(
    read: Callable[[int], Picture],
    name: Callable[[int], str],
    count: int,
    framing: Framing,
    feed: Feed,
    files: Sequence[Path],
    about: str,
) -> Decoded:
    """As `cache.decode_all`, or with images that are `Streamed` if the feed says so. `name` is what people call a
    picture.

    Streamed ones are all decoded once before, to leave out those that cannot be read and to know the others; the
    folder keeps what was found.
    """
    if feed.kind == "memory":
        return cache.decode_all(read, count, framing, feed.folder, files, about)
    shape, failed = decode.shape_of(read, count, framing)
    needed = count * int(np.prod(shape))
    if failed or (not feed.kind and needed <= feed.room):
        return cache.decode_all(read, count, framing, feed.folder, files, about)
    table = feed.folder / f"{cache.key(files, f'{framing} {about}')}.known.npz" if feed.folder else None
    found = _kept(table) if table else None
    if not found or cache.mended(read, found[1], framing):
        found = _pass(read, count, framing, shape)
        if table:
            _keep(table, *found)
    known, unreadable, notes = found
    why = "" if feed.kind else f", more than the {feed.room / 2**30:.2g} GiB that they may take"
    size = f"{count:,} of {' x '.join(map(str, shape))} are {needed / 2**30:.2g} GiB{why}"
    images = Streamed(read, name, framing, shape, known)
    notes = *notes, f"images are decoded whenever they are used: {size}"
    return Decoded(images, known.rows, unreadable, notes, known.sizes, known.contents)


def _pass(
    read: Callable[[int], Picture], count: int, framing: Framing, shape: tuple[int, ...]
) -> tuple[Known, dict[int, str], tuple[str, ...]]:
    contents, digests = np.zeros((2, count, DIGEST), np.uint8)
    sums, squares = np.zeros((2, count, shape[-1]), np.int64)
    sizes, levels = np.zeros((count, 2), np.int32), np.arange(256)

    def know(row: int, content: bytes | np.ndarray, framed: decode.Framed) -> None:
        image, _, sizes[row] = framed
        counts = np.stack([np.bincount(image[..., i].ravel(), minlength=256) for i in range(shape[-1])])
        sums[row], squares[row] = counts @ levels, counts @ levels**2
        for table, what in ((contents, content), (digests, image)):
            table[row] = np.frombuffer(digest(what), np.uint8)

    unreadable, notes = decode.each(read, count, framing, shape, know)
    rows = np.setdiff1d(np.arange(count), list(unreadable))
    return Known(rows, contents[rows], digests[rows], sums[rows], squares[rows], sizes[rows]), unreadable, notes


def _keep(table: Path, known: Known, unreadable: dict[int, str], notes: tuple[str, ...]) -> None:
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        said = json.dumps({"unreadable": list(unreadable.items()), "notes": notes})
        write_npz(table, known._asdict() | {"said": np.array(said)})
    except OSError as error:
        cache.say(f"what is known of the pictures is not kept in {table.parent}: {error.strerror}")


def _kept(table: Path) -> tuple[Known, dict[int, str], tuple[str, ...]] | None:
    if not table.is_file():
        return None
    try:
        with table.open("rb") as file, np.load(file) as arrays:
            said = json.loads(str(arrays["said"]))
            known = Known(*(arrays[name] for name in Known._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return known, dict(map(tuple, said["unreadable"])), tuple(said["notes"])


def _changed(name: str, how: str) -> str:
    return (
        f"config.data.source: {name} {how}; put the picture back as it was, and the same command carries on from the "
        "last checkpoint"
    )


@functools.cache
def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(decode.CORES, "decoder")
