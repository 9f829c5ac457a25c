"""What a run writes beside its checkpoints: JSON files, metrics by the line, TensorBoard events."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter


def write_text(path: Path, content: str) -> None:
    """Whole or not at all: a killed run leaves no half file. Ends of lines as they are."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content.encode())
    os.replace(part, path)


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    os.replace(part, path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; half lines, which killed runs leave, are left out."""
    found = []
    for line in path.read_text().split("\n")[:-1] if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


class MetricsLog:
    """Metrics of one stage: a line of `metrics.jsonl` and TensorBoard scalars for each logged step.

    What was logged after step `first` is cut off: a resumed run writes it again.
    """

    def __init__(self, folder: Path, first: int) -> None:
        path = folder / "metrics.jsonl"
        kept = [record for record in read_lines(path) if record["step"] <= first]
        part = path.with_name(path.name + ".part")
        part.write_text("".join(json.dumps(record) + "\n" for record in kept))
        os.replace(part, path)
        self._file = path.open("a")
        self._events = SummaryWriter(str(folder), purge_step=first + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()
        self._events.close()
