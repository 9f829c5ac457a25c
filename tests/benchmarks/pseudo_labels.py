"""Disk, time and memory of the pseudo-labels of large pools, with made-up predictions in place of images.

    python -m tests.benchmarks.pseudo_labels 100000 1000000

For each number of images, two processes: the first writes the shards, the second starts again. Each step has its
seconds by the clock and of cores, and the peak of memory above what the process had before it, in MiB. Drawing the
predictions is not counted in seconds.
"""

import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 1000
SETTINGS = {"threshold": 0.3, "balance": True, "per_class": 0, "soft": True, "shuffled": False}
STEPS = "write", "start again", "read two columns", "select", "audit", "add labels", "read targets", "whole next start"


def memory(name: str) -> int:
    """KiB that the process has now ("VmRSS"), or at most since `measured` began ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def now() -> np.ndarray:
    """Seconds by the clock, and of the cores that this process used."""
    return np.array([time.perf_counter(), time.process_time()])


def measured(found: dict, name: str, step: Callable[[], Any], teacher: "Drawn | None" = None) -> Any:
    """The result of a step; its seconds, less those of a teacher, and its memory are put into `found`."""
    ctypes.CDLL(None).malloc_trim(0)  # what is free would be taken again without a trace
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = memory("VmRSS"), now()
    result = step()
    seconds, cores = now() - start - (teacher.seconds if teacher else 0.0)
    peak = (memory("VmHWM") - before) / 1024
    found[name] = {"seconds": round(seconds, 2), "core_seconds": round(cores, 2), "mib": round(peak)}
    return result


class Drawn:
    """A teacher whose predictions are drawn: their logits are normal, of deviation 2.5."""

    def __init__(self) -> None:
        self.seconds = np.zeros(2)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        start = now()
        p = np.random.default_rng(int(ids[0])).standard_normal((len(ids), CLASSES), np.float32)
        p *= np.float32(2.5)
        np.exp(p, out=p)
        p /= p.sum(1, keepdims=True)
        self.seconds += now() - start
        return p


def measure(folder: Path, count: int, again: bool) -> dict:
    from efficient_jax.data.dataset import Source
    from efficient_jax.experiment.pseudo_labels import shards as store
    from efficient_jax.experiment.pseudo_labels.audit import audit
    from efficient_jax.experiment.pseudo_labels.pool import Pool, predicted_by
    from efficient_jax.experiment.pseudo_labels.shard_files import Shards
    from efficient_jax.tasks.selected_images import selected

    rng = np.random.default_rng(0)
    names = tuple(f"train/{number:016x}.jpg" for number in rng.integers(0, 2**63, count).tolist())
    classes = tuple(f"n{number:08}" for number in range(CLASSES))
    labels = np.where(np.arange(count) % 100, -1, 0).astype(np.int32)
    source = Source(np.zeros((count, 1, 1, 1), np.uint8), labels, classes, names=names)
    pool = Pool(folder, source, np.zeros(0, int), np.arange(count), 512, 0, "config.student", (1000,))
    origin = {
        "teacher": "teacher",
        "teacher_hash": "0",
        "class_map": None,
        "vote": "soft",
        "seed": 0,
        "settings": SETTINGS,
    }
    shards = Shards(pool, 10, predicted_by(origin) | {"teacher_steps": pool.steps, "top": 10, "classes": classes})
    drawn, found = Drawn(), {"images": count, "shards": shards.count}
    if not again:
        measured(found, STEPS[0], lambda: store.predict_missing(shards, drawn, id), drawn)
        return found
    measured(found, STEPS[1], lambda: store.predict_missing(shards, drawn, id))
    confidence, predicted = measured(found, STEPS[2], lambda: store.columns(shards))
    chosen = measured(found, STEPS[3], lambda: selected(confidence, predicted, CLASSES, 0, **SETTINGS))
    parts = store.parts_of(shards, confidence, predicted, predicted, chosen.copies)
    counts = measured(found, STEPS[4], lambda: audit(source, pool.labelled, pool.ids, chosen.copies, parts, 512))
    measured(found, STEPS[5], lambda: store.complete(shards, predicted, chosen.copies))
    measured(found, STEPS[6], lambda: store.labels_of(shards, chosen))
    measured(found, STEPS[7], lambda: store.pseudo_labels(pool, drawn, origin, id))
    size = sum(file.stat().st_size for file in (folder / store.FOLDER).iterdir())
    return found | {"kept": counts["kept"], "bytes_per_image": round(size / count, 1)}


def main(counts: list[int]) -> None:
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            for again in ("", "again"):
                command = [sys.executable, "-m", "tests.benchmarks.pseudo_labels", "of", folder, str(count), again]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    if sys.argv[1] == "of":
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]), bool(sys.argv[4]))), flush=True)
    else:
        main([int(count) for count in sys.argv[1:]])
