"""Writes and reads the files of a run: JSON, metrics by the line. A killed run leaves no partial file, and of several
processes only the first writes. All JSON is made by `json_text`."""

import contextlib
import csv
import io
import json
import math
import mmap
import os
import secrets
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax import distributed

Json = dict[str, Any]
"""A JSON object as it is read; where the code knows its keys, a TypedDict says them."""


def write_text(path: Path, content: str) -> None:
    """Writes a text file in UTF-8, with line ends as they are.

    Args:
        path: the file; replaced where it exists.
        content: its text.

    Raises: OSError where it cannot be written.
    """
    write_bytes(path, content.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file.

    Args:
        path: the file; replaced where it exists.
        content: all of it.

    Raises: OSError where it cannot be written.
    """
    with whole(path) as file:
        file.write(content)


def json_text(content: Any, indent: int | None = None) -> str:
    """Returns JSON with null for every number that is not finite: only Python's readers accept NaN and Infinity.

    Args:
        content: dicts, lists, tuples, text, numbers, bool and None.
        indent: spaces per level; None: all on one line.

    Raises: TypeError for other values.
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file.

    Args:
        path: the file; replaced where it exists.
        content: as for `json_text`.

    Raises: OSError where it cannot be written.
    """
    write_text(path, json_text(content, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file.

    Args:
        path: the file.

    Raises: OSError where it cannot be read, ValueError where it is not JSON.
    """
    return json.loads(path.read_text())


def csv_text(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a table as CSV.

    Args:
        header: cells of the first row, such as the name of each column.
        rows: cells of each other row.
    """
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()


def scratch(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Returns an array in a temporary file, in $TMPDIR, for what is larger than memory; the file goes with the array.

    Args:
        shape: of the array.
        dtype: of the array.

    Raises: OSError where the file cannot be written.
    """
    if 0 in shape:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        array: np.ndarray = np.memmap(file, dtype, "w+", shape=shape)
        return array


def entries(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the entries of an array; those of one from `scratch` do not stay in memory.

    Args:
        array: with one axis or more.
    """
    for entry in array:
        yield entry
        release(array)


def release(array: np.ndarray) -> None:
    """Gives the memory of an array from `scratch` back; its values stay in the file. Others are left alone.

    Args:
        array: any array.
    """
    if (mapped := getattr(array, "_mmap", None)) is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def npz_shape(path: Path, name: str) -> tuple[int, ...]:
    """Returns the shape of an array of an .npz file.

    Args:
        path: the file.
        name: of the array.

    Raises: as `read_npz_entries`.
    """
    with _npz_entry(path, name) as (_, shape, _, _):
        return shape


@contextlib.contextmanager
def _npz_entry(path: Path, name: str) -> Iterator[tuple[Any, tuple[int, ...], bool, np.dtype[Any]]]:
    """Yields (the file of an array, after its header; shape; whether it is in the order of Fortran; dtype)."""
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with zipfile.ZipFile(path) as archive:
        if f"{name}.npy" not in archive.namelist():
            raise KeyError(name)
        with archive.open(f"{name}.npy") as file:
            yield file, *read_header[np.lib.format.read_magic(file)](file)


def read_npz_entries(path: Path, name: str, dtype: Any) -> np.ndarray:
    """Returns an array of an .npz file as one from `scratch`: no more than one entry of it is in memory.

    Args:
        path: the file.
        name: of the array, of one axis or more.
        dtype: of the result.

    Raises: KeyError without such an array; ValueError, OSError, zlib.error and zipfile.BadZipFile for a damaged file.
    """
    with _npz_entry(path, name) as (file, shape, fortran, stored):
        if fortran:
            raise ValueError(f"{name} is in the order of Fortran")
        array, size = scratch(shape, dtype), stored.itemsize * math.prod(shape[1:])
        for i in range(len(array)):
            with np.errstate(over="ignore"):  # what is no probability is said later
                array[i] = np.frombuffer(file.read(size), stored).reshape(shape[1:])
            release(array)
    return array


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to a compressed .npz file.

    Args:
        path: the file; replaced where it exists.
        arrays: name -> array.

    Raises: OSError where it cannot be written.
    """
    with whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                if isinstance(array, np.memmap):  # `write_array` would keep all of it in memory
                    np.lib.format.write_array_header_1_0(entry, np.lib.format.header_data_from_array_1_0(array))
                    for part in entries(array):
                        entry.write(part.tobytes())
                else:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


class _Nowhere(io.RawIOBase):
    """Discards what is written. Unlike /dev/null, whose position is always 0, it is not seekable: zip asks."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


@contextlib.contextmanager
def whole(path: Path, by_each: bool = False) -> Iterator[io.BufferedWriter]:
    """Yields a file to write, which appears under its name once it is complete; on an error it does not.

    Args:
        path: the file; replaced where it exists.
        by_each: whether every process writes; else those other than the first write nothing.

    Raises: OSError where it cannot be written.
    """
    if not by_each and not distributed.is_first():
        yield io.BufferedWriter(_Nowhere())
        return
    # Several runs, also of several machines, may write the same cache.
    part = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # a full disk does not name the file
        raise


def read_lines(path: Path) -> list[Json]:
    """Returns the records of a JSON-lines file, empty where there is no file; incomplete lines of killed runs are left
    out.

    Args:
        path: the file.
    """
    records = []
    for line in path.read_text().split("\n")[:-1] if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records


@contextlib.contextmanager
def metrics_log(folder: Path, first: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Yields `write(step, values)`, which adds a line to a stage's `metrics.jsonl`.

    Processes other than the first write nothing.

    Args:
        folder: of the stage.
        first: the last step that stays; what was logged after it is removed, since a resumed run writes it again.
    """
    if not distributed.is_first():
        yield lambda *_: None
        return
    path = folder / "metrics.jsonl"
    kept = [record for record in read_lines(path) if record["step"] <= first]
    write_text(path, "".join(json_text(record) + "\n" for record in kept))
    with path.open("a") as file:

        def write(step: int, values: Mapping[str, float]) -> None:
            file.write(json_text({"step": step, **values}) + "\n")
            file.flush()

        yield write
