"""How speed and memory of training grow with the batch, the size of images, and devices that share two cores.

    python -m tests.training.growth >> tests/training/growth.jsonl

The quickstart's teacher on drawn pictures of three channels, measured by `bench`; each point in a process of its own.
`python -m tests.training.growth table` shows what is there, with the exponent of each column: the slope of its
logarithm. Memory is what XLA plans for a device beside what the step is given.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from configs import quickstart
from efficient_jax import records
from efficient_jax.commands.bench import bench
from efficient_jax.report import tables

FILE = Path(__file__).with_suffix(".jsonl")
BASE = {"batch": 128, "size": 32, "devices": 2}
POINTS = {
    "batch": (32, 64, 128, 256, 512, 1024),
    "size": (32, 64, 96, 128, 192, 256, 384),
    "devices": (1, 2, 4, 8),
}
BATCH_OF_SIZES = 32  # the largest pictures want 16 times as much memory


def measure(batch: int, size: int, devices: int) -> dict:
    jax.config.update("jax_num_cpu_devices", devices)
    config = quickstart.get_config()
    source = {"name": "synthetic", "classes": 10, "size": size, "images": 400}
    config.data = {"source": source, "labels_per_class": 30, "test": 100, "validation": 0}
    config.update({"devices": devices, "stages": ("augmented",)})
    config.augmented.batch.labelled = batch
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        bench(config, workdir=folder, seconds="0.5", repeats="3")
        found = records.read_json(Path(folder) / "bench.json")
    (of_stage,) = found["stages"]
    speed = {part: round(of_stage["images_per_second"][part]) for part in ("step", "loop")}
    memory = {part: round(of_stage["memory"][part] / 2**20, 2) for part in ("resident", "temporary")}
    return (
        speed | memory | {"compile": round(of_stage["compile_seconds"], 1), "jax": found["jax"], "date": found["date"]}
    )


def table(name: str) -> str:
    """In markdown: the points at which `name` changes, and the exponents."""
    found = sorted((record for record in records.read_lines(FILE) if record["of"] == name), key=lambda r: r[name])
    columns = {
        "step": "step, images/s",
        "loop": "loop, images/s",
        "temporary": "memory, MiB",
        "compile": "compiling, s",
    }
    rows = [[str(record[name]), *(tables.digits(record[key]) for key in columns)] for record in found]
    x = np.log([record[name] for record in found])
    slopes = [np.polyfit(x, np.log([record[key] for record in found]), 1)[0] for key in columns]
    return tables.markdown([name, *columns.values()], [*rows, ["exponent", *(f"{slope:+.2f}" for slope in slopes)]])


def main() -> None:
    for name, values in POINTS.items():
        for value in values:
            point = BASE | ({"batch": BATCH_OF_SIZES} if name == "size" else {}) | {name: value}
            command = [sys.executable, "-m", "tests.training.growth", *map(str, point.values())]
            environment = os.environ | {"NPROC": "32"}  # as launch.py: more threads than devices
            said = subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
            print(json.dumps({"of": name} | point | json.loads(said)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["table"]:
        print("\n".join(map(table, POINTS)))
    elif sys.argv[1:]:
        print(json.dumps(measure(*map(int, sys.argv[1:]))))
    else:
        main()
