"""What a run writes beside its checkpoints: JSON files, metrics by the line, TensorBoard events. A killed run
leaves no half file, and of several processes only the first writes. All JSON is made by `json_text`."""

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
from tensorboardX import SummaryWriter

from efficient_jax import distributed


def write_text(path: Path, content: str) -> None:
    """Ends of lines as they are."""
    with whole(path) as file:
        file.write(content.encode())


def json_text(content: Any, indent: int | None = None) -> str:
    """Returns `content` as JSON with null for every number that is not finite: of all readers only Python's takes NaN
    and Infinity. What reads it has None there."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value


def write_json(path: Path, content: Any) -> None:
    write_text(path, json_text(content, indent=1) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with whole(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


class _Nowhere(io.RawIOBase):
    """Takes what is written. Other than /dev/null, whose every position is 0, it cannot be sought in: a zip asks."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


@contextlib.contextmanager
def whole(path: Path) -> Iterator[io.BufferedWriter]:
    """A file to write, which is there once all of it is."""
    if not distributed.is_first():
        yield io.BufferedWriter(_Nowhere())
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # decoded pictures are kept for several runs
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; half lines, which killed runs leave, are left out."""
    found = []
    for line in path.read_text().split("\n")[:-1] if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


@contextlib.contextmanager
def metrics_log(folder: Path, first: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """`write(step, values)`: a line of `metrics.jsonl` and TensorBoard scalars of a stage.

    What was logged after step `first` is cut off: a resumed run writes it again.
    """
    if not distributed.is_first():
        yield lambda *_: None
        return
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
