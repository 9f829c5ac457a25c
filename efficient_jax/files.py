"""Writes and reads the files of a run: JSON, metrics by the line, TensorBoard events. A killed run leaves no partial
file, and of several processes only the first writes. All JSON is made by `json_text`."""

import contextlib
import csv
import io
import json
import math
import os
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


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to a compressed .npz file.

    Args:
        path: the file; replaced where it exists.
        arrays: name -> array.

    Raises: OSError where it cannot be written.
    """
    with whole(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


class _Nowhere(io.RawIOBase):
    """Discards what is written. Unlike /dev/null, whose position is always 0, it is not seekable: zip asks."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


@contextlib.contextmanager
def whole(path: Path) -> Iterator[io.BufferedWriter]:
    """Yields a file to write, which appears under its name once it is complete; on an error it does not.

    Processes other than the first write nothing.

    Args:
        path: the file; replaced where it exists.

    Raises: OSError where it cannot be written.
    """
    if not distributed.is_first():
        yield io.BufferedWriter(_Nowhere())
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # several runs may write the same cache
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
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
    """Yields `write(step, values)`, which adds a line to a stage's `metrics.jsonl` and its TensorBoard scalars.

    Processes other than the first write nothing.

    Args:
        folder: of the stage.
        first: the last step that stays; what was logged after it is removed, since a resumed run writes it again.
    """
    if not distributed.is_first():
        yield lambda *_: None
        return
    from tensorboardX import SummaryWriter  # takes 0.1 s, which only training needs

    path = folder / "metrics.jsonl"
    kept = [record for record in read_lines(path) if record["step"] <= first]
    write_text(path, "".join(json_text(record) + "\n" for record in kept))
    with path.open("a") as file, SummaryWriter(str(folder), purge_step=first + 1) as events:

        def write(step: int, values: Mapping[str, float]) -> None:
            file.write(json_text({"step": step, **values}) + "\n")
            file.flush()
            for name, value in values.items():
                events.add_scalar(name, value, step)

        yield write
