"""How speed and memory of training grow with the batch, the size of images, and devices that share two cores.

    python -m tests.benchmarks.growth > tests/benchmarks/growth.jsonl

The quickstart's teacher on drawn images of three channels, measured by `bench`; each point in a process of its own.
`python -m tests.benchmarks.growth table` shows both ends of what is there, with the exponents, which are slopes of
logarithms, and draws it as `growth.svg`, beside what `tests/benchmarks/scale.py` measures of the number of files.
Memory is what XLA plans for a device beside what the step is given; that of files is the process's.
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
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from configs import quickstart
from efficient_jax import files
from efficient_jax.commands.bench import bench
from efficient_jax.report import layout, plots, tables

FILE = Path(__file__).with_suffix(".jsonl")
FILES = Path(__file__).with_name("scale.jsonl")
BASE = {"batch": 128, "size": 32, "devices": 2}
POINTS = {
    "batch": (32, 64, 128, 256, 512, 1024),
    "size": (32, 64, 96, 128, 192, 256, 384),
    "devices": (1, 2, 4, 8),
}
BATCH_OF_SIZES = 32  # the largest images want 16 times as much memory


def measure(batch: int, size: int, devices: int) -> dict:
    jax.config.update("jax_num_cpu_devices", devices)
    config = quickstart.get_config()
    source = {"name": "synthetic", "classes": 10, "size": size, "images": 400}
    config.data = {"source": source, "labels_per_class": 30, "test": 100, "validation": 0}
    config.update({"devices": devices, "stages": ("augmented",)})
    config.augmented.batch.labelled = batch
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        bench(config, workdir=folder, seconds="0.5", repeats="3")
        found = files.read_json(Path(folder) / "bench.json")
    (of_stage,) = found["stages"]
    speed = {part: round(of_stage["images_per_second"][part]) for part in ("step", "loop")}
    memory = {part: round(of_stage["memory"][part] / 2**20, 2) for part in ("resident", "temporary")}
    return (
        speed | memory | {"compile": round(of_stage["compile_seconds"], 1), "jax": found["jax"], "date": found["date"]}
    )


def points(name: str) -> list[dict]:
    """Those at which `name` changes, in its order."""
    return sorted((record for record in files.read_lines(FILE) if record["of"] == name), key=lambda r: r[name])


def exponent(found: list[dict], name: str, key: str) -> float:
    return np.polyfit(np.log([r[name] for r in found]), np.log([r[key] for r in found]), 1)[0]


def grown() -> list[tuple[str, list[dict], str, str]]:
    """(what grows, its points, the keys of speed and of memory)."""
    found = [(name, points(name), "step", "temporary") for name in POINTS]
    of_files = [record for record in files.read_lines(FILES) if "side" not in record]  # of 32 pixels, in one sitting
    return [*found, ("files", of_files, "images_per_second", "most_mib")]


def table() -> str:
    """In markdown: speed and memory at both ends, and the exponents."""
    rows = []
    for name, found, *keys in grown():
        ends = [[tables.digits(found[i][key]) for i in (0, -1)] for key in (name, *keys)]
        of, speed, memory = (" to ".join(both) for both in ends)
        slopes = [f"{exponent(found, name, key):+.2f}" for key in keys]
        rows.append([f"{name}, {of}", speed, slopes[0], memory, slopes[1]])
    return layout.markdown(["what grows", "images/s", "exponent", "memory, MiB", "exponent"], rows)


def draw() -> None:
    """Images per second above, memory below, all axes logarithmic, each line with its exponent."""
    panels = grown()
    with matplotlib.rc_context({"svg.hashsalt": "growth", "svg.fonttype": "path"}):
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        axes = figure.subplots(2, len(panels), sharex="col")
        for (name, found, *keys), column in zip(panels, axes.T, strict=True):
            for of, key, color in zip(column, keys, plots.COLORS, strict=False):
                values = [r[key] for r in found]
                of.loglog([r[name] for r in found], values, "o-", color=color, base=2)
                of.set_ylim(min(values) / 2, max(values) * 2)  # what hardly changes shall look so
                of.set_title(f"exponent {exponent(found, name, key):+.2f}", fontsize=10)
                of.grid(color="#e4e4e4", linewidth=0.6)
                of.spines[["top", "right"]].set_visible(False)
                of.xaxis.set_major_formatter("{x:.0f}")
                of.yaxis.set_major_formatter("{x:,.0f}")
                of.minorticks_off()
            column[-1].set_xlabel(name)
            column[-1].set_xticks([r[name] for r in found], [f"{r[name]:,}" for r in found], rotation=45)
        axes[0, 0].set_ylabel("images/s")
        axes[1, 0].set_ylabel("memory, MiB")
        figure.savefig(FILE.with_suffix(".svg"), metadata={"Date": None})


def main() -> None:
    for name, values in POINTS.items():
        for value in values:
            point = BASE | ({"batch": BATCH_OF_SIZES} if name == "size" else {}) | {name: value}
            command = [sys.executable, "-m", "tests.benchmarks.growth", *map(str, point.values())]
            environment = os.environ | {"NPROC": "32"}  # as launch.py: more threads than devices
            said = subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
            print(json.dumps({"of": name} | point | json.loads(said)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["table"]:
        print(table())
        draw()
    elif sys.argv[1:]:
        print(json.dumps(measure(*map(int, sys.argv[1:]))))
    else:
        main()
