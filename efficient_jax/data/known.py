"""What is known of streamed images: one pass over all of them leaves shards on disk, which later starts map.

A shard holds `SHARD` images in Arrow's IPC format, and beside it a file their thumbnails. Its name has its number and
the checksum of its content: a file is whole or not used, and any number of runs may write one folder. Each process
begins with its share of the shards and makes those of others where they are still missing: it waits for nobody.
"""

import json
import math
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from efficient_jax import distributed
from efficient_jax.data import cache, decode, stored_image
from efficient_jax.data.framing import Framing
from efficient_jax.data.identity import DIGEST, digest
from efficient_jax.data.names import Names, of_column
from efficient_jax.data.stored_image import ImageLike
from efficient_jax.data.thumbnails import GRID, thumbnails
from efficient_jax.distributed import log
from efficient_jax.files import whole

SHARD = 16_384  # images
THUMBNAILS = ".thumbnails"


class Column:
    """An array [n ...] of which files hold the parts, indexed like an array; entries are copied when they are read.

    Args:
        parts: each of `SHARD` entries but the last.
        rows: int [n], which of all entries it has, in this order.
    """

    def __init__(self, parts: Sequence[np.ndarray], rows: range | Int[np.ndarray, " n"]) -> None:
        self.parts, self.rows = parts, rows
        self.shape, self.dtype = (len(rows), *parts[0].shape[1:]), parts[0].dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, ids: Any) -> np.ndarray:
        if isinstance(ids, int | np.integer):  # ten times as fast
            row = int(self.rows[ids])
            entry: np.ndarray = self.parts[row // SHARD][row % SHARD].copy()
            return entry
        rows = rows_at(self.rows, ids)
        flat = rows.ravel()
        order = np.argsort(flat, kind="stable")
        numbers, starts = np.unique(flat[order] // SHARD, return_index=True)
        entries = np.empty((len(flat), *self.shape[1:]), self.dtype)
        for number, places in zip(numbers, np.split(order, starts[1:]), strict=False):  # no part: one empty split
            entries[places] = self.parts[number][flat[places] % SHARD]
        return entries.reshape(*rows.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # it always is one
        return self[:] if dtype is None else self[:].astype(dtype)


class Shard(NamedTuple):
    """What is known of `SHARD` images, or of the last few."""

    batch: Any  # pyarrow.RecordBatch, a row for each
    thumbnails: np.ndarray  # uint8 [n *GRID c]


class Known(NamedTuple):
    """The metadata of the n images that can be read, from one pass over all."""

    rows: range | Int[np.ndarray, " n"]  # their indices among all images
    contents: Column  # uint8 [n DIGEST], digests of the files
    digests: Column  # uint8 [n DIGEST], digests of the pixels
    sums: Column  # int64 [n c], of the pixel values of each channel, in 0..255
    squares: Column  # int64 [n c], sums of their squares
    sizes: Column  # int32 [n 2], height and width before the resize, in pixels
    thumbnails: Column  # uint8 [n *GRID c], see `data.thumbnails`
    files: Any  # pyarrow.ChunkedArray, names of the files of all images as bytes; None: they have none of their own
    unreadable: dict[int, str]  # index among all images -> reason, of the others
    changes: Counter[str]  # what was changed in how many images

    def at(self, ids: Int[np.ndarray, " m"]) -> "Known":
        """Returns what is known of some of the images, in this order.

        Args:
            ids: int [m], their indices, also repeated ones.
        """
        rows = rows_at(self.rows, ids)
        columns: dict[str, Any] = {
            name: Column(value.parts, rows) for name, value in self._asdict().items() if isinstance(value, Column)
        }
        return self._replace(rows=rows, **columns)

    @property
    def names(self) -> Names | None:
        """Names of the files of these images; None: they have none of their own."""
        return None if self.files is None else Names(of_column(self.files), self.rows)

    def path(self, row: int) -> Path:
        """Returns the file of an image.

        Args:
            row: its index among all images.
        """
        return Path(os.fsdecode(self.files[row].as_py()))


COLUMNS = Known._fields[1:6]


def rows_at(rows: range | Int[np.ndarray, " n"], ids: Any) -> Int[np.ndarray, "*m"]:
    """Returns `rows[ids]` without an array of all rows.

    Args:
        rows: int [n]; a range starts at 0.
        ids: as numpy takes indices of the first axis.

    Raises: IndexError for an index that is not in -n..n-1.
    """
    if isinstance(ids, slice):
        ids = np.arange(*ids.indices(len(rows)))
    ids = np.asarray(ids)
    ids = np.flatnonzero(ids) if ids.dtype == bool else ids.astype(np.int64)
    if ids.size and not -len(rows) <= ids.min() <= ids.max() < len(rows):
        raise IndexError(f"{ids.min()}..{ids.max()} is not in 0..{len(rows) - 1}")
    ids = np.where(ids < 0, ids + len(rows), ids)
    return ids if isinstance(rows, range) else np.asarray(rows[ids])


def chunks(array: np.ndarray | Column) -> Iterator[np.ndarray]:
    """Yields an array in parts of `SHARD` entries.

    Args:
        array: [n ...], perhaps one of which files hold the parts.
    """
    return (array[i : i + SHARD] for i in range(0, len(array), SHARD))


def know(
    read: Callable[[int], ImageLike],
    count: int,
    framing: Framing,
    shape: tuple[int, ...],
    folder: Path | None,
    files: Sequence[Path | str] | None,
) -> Known:
    """Returns what is known of images: from the shards in a folder, and from a pass over those that it does not have.

    A shard that cannot be written stays in memory, 1.2 kB an image, and one line says so.

    Args:
        read: returns the image of an index: a file, its content, or pixels.
        count: number of images.
        framing: how images become one size.
        shape: shape [h w c] of all images.
        folder: of the shards, which depends on everything else here; None: they are not kept.
        files: file of each image, whose names are kept; None: an image has no file of its own.
    """
    kept, write_to = _listed(folder), folder
    shards: dict[int, Shard] = {}
    total = max(1, -(-count // SHARD))
    for number in _order(total):
        rows = range(number * SHARD, min(count, (number + 1) * SHARD))
        if number not in kept:
            kept = _listed(folder)  # another process may have made it
        shard = _opened(kept[number]) if number in kept else None
        unreadable = {rows[i]: why for i, why in _unreadable(shard.batch).items()} if shard else {}
        if shard is None or cache.mended(read, unreadable, framing):
            part = f", part {number + 1} of {total}" if total > 1 else ""
            content, small = _pass(read, rows, framing, shape, files, part)
            mapped = _written(content, small, write_to, number) if write_to else None
            write_to = write_to if mapped else None
            shard = mapped or Shard(_batch(content), small)
        shards[number] = shard
    return _joined([shards[number] for number in range(total)], count)


def _order(total: int) -> list[int]:
    """Returns the shards in the order in which this process looks at them: its share, then the others.

    Both are in random order, so that runs that write one folder at the same time seldom make the same one.
    """
    mine = distributed.share(total)
    order = np.random.default_rng().permutation(total).tolist()
    return sorted(order, key=lambda number: number not in mine)


def _listed(folder: Path | None) -> dict[int, Path]:
    """Returns the file of each shard; the newest of several, of which an older one has more unreadable images."""
    files = sorted(folder.glob("*-*.arrow"), key=lambda file: file.stat().st_mtime_ns) if folder else []
    return {int(file.name.split("-")[0]): file for file in files}


def _opened(file: Path) -> Shard | None:
    """Returns a shard; None for one that is damaged, which is removed.

    Thumbnails are as many as they should be, and nothing more is asked of them: to read them all takes time, and what
    follows from them is shown only.
    """
    try:
        content = file.read_bytes()  # not of the mapped file, whose pages would count as memory of the process
        if _name(int(file.name.split("-")[0]), content) == file.name and (mapped := _mapped(file)):
            return mapped
        log(f"{file} is damaged: its images are decoded again")
        for part in (file, file.with_suffix(THUMBNAILS)):
            part.unlink(missing_ok=True)
    except OSError as error:
        log(f"{file} cannot be read ({error.strerror or error}): its images are decoded again")
    return None


def _name(number: int, content: Any) -> str:
    return f"{number:06}-{zlib.crc32(content):08x}.arrow"


def _mapped(file: Path) -> Shard | None:
    """Returns a shard whose record batch is whole; None where thumbnails are missing."""
    import pyarrow as pa

    batch, beside = _batch(pa.memory_map(str(file)).read_buffer()), file.with_suffix(THUMBNAILS)
    shape = len(batch), *GRID, batch["sums"].type.list_size
    if not beside.is_file() or beside.stat().st_size != math.prod(shape):
        return None
    return Shard(batch, np.memmap(beside, np.uint8, "r", shape=shape) if len(batch) else np.zeros(shape, np.uint8))


def _batch(content: Any) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(content).get_batch(0)


def _written(content: Any, small: np.ndarray, folder: Path, number: int) -> Shard | None:
    """Returns a shard as mapped files; None where they cannot be written."""
    file = folder / _name(number, content)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part, values in ((file.with_suffix(THUMBNAILS), small.tobytes()), (file, content)):
            if not part.exists():  # another process may have mapped it
                with whole(part, by_each=True) as stream:
                    stream.write(values)
        return _mapped(file)
    except OSError as error:
        log(f"what is known of the images is not kept in {folder}, but in memory: {error.strerror or error}")
        return None


def _pass(
    read: Callable[[int], ImageLike],
    rows: range,
    framing: Framing,
    shape: tuple[int, ...],
    files: Sequence[Path | str] | None,
    part: str,
) -> tuple[Any, np.ndarray]:
    """Decodes the images of a shard, and returns its content and its thumbnails."""
    import pyarrow as pa

    n, levels = len(rows), np.arange(256)
    contents, digests = np.zeros((2, n, DIGEST), np.uint8)
    sums, squares = np.zeros((2, n, shape[-1]), np.int64)
    sizes, small = np.zeros((n, 2), np.int32), np.zeros((n, *GRID, shape[-1]), np.uint8)

    def know(i: int, content: bytes | np.ndarray, framed: stored_image.Framed) -> None:
        image, _, sizes[i] = framed
        counts = np.stack([np.bincount(image[..., k].ravel(), minlength=256) for k in range(shape[-1])])
        sums[i], squares[i] = counts @ levels, counts @ levels**2
        (small[i],) = thumbnails(image[None])
        for table, value in ((contents, content), (digests, image)):
            table[i] = np.frombuffer(digest(value), np.uint8)

    changes, unreadable = decode.decode_files(lambda i: read(rows[i]), n, framing, shape, know, part)
    arrays: tuple[np.ndarray, ...] = (contents, digests, sums, squares, sizes)
    columns = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])
        for name, array in zip(COLUMNS, arrays, strict=True)
    }
    if files is not None:
        columns["name"] = pa.array([os.fsencode(files[row]) for row in rows], pa.binary())
    columns["wrong"] = pa.array([unreadable.get(i) for i in range(n)], pa.string())
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    batch = batch.replace_schema_metadata({"changes": json.dumps(dict(sorted(changes.items())))})
    with pa.ipc.new_file(sink, batch.schema) as file:
        file.write_batch(batch)
    return sink.getvalue(), small


def _unreadable(batch: Any) -> dict[int, str]:
    """Returns index in the shard -> reason."""
    wrong = batch["wrong"]
    return (
        {int(i): wrong[int(i)].as_py() for i in np.flatnonzero(wrong.is_valid())}
        if len(wrong) > wrong.null_count
        else {}
    )


def _joined(shards: Sequence[Shard], count: int) -> Known:
    import pyarrow as pa

    batches, small = zip(*shards, strict=True)
    unreadable = {n * SHARD + i: why for n, batch in enumerate(batches) for i, why in _unreadable(batch).items()}
    rows: range | np.ndarray = range(count)
    if unreadable:
        rows = np.setdiff1d(np.arange(count, dtype=np.int32 if count < 2**31 else np.int64), list(unreadable))

    def parts(name: str) -> list[np.ndarray]:
        return [batch[name].flatten().to_numpy().reshape(-1, batch[name].type.list_size) for batch in batches]

    columns: dict[str, Any] = {name: Column(parts(name), rows) for name in COLUMNS}
    names = [batch["name"] for batch in batches if "name" in batch.schema.names]
    changes = (Counter(json.loads(batch.schema.metadata[b"changes"])) for batch in batches)
    return Known(
        rows=rows,
        thumbnails=Column(small, rows),
        files=pa.chunked_array(names) if names else None,
        unreadable=unreadable,
        changes=sum(changes, Counter()),
        **columns,
    )
