"""Are labels that `predict --rank` chose worth more than labels at random? Digits, 4 labels of each class, 60 bought.

    python -m tests.benchmarks.bought_labels tests/benchmarks/bought_labels.jsonl

For each of 5 seeds a teacher learns from the first 40 labels and ranks all other images but those of the test; then
the quickstart's teacher and student learn from these 40 and the 60 best ranked, or 60 at random. Adds to the file what
is not in it, and prints what is.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from configs import quickstart
from efficient_jax import files
from efficient_jax.data.dataset import Source
from efficient_jax.data.sources.handwritten_digits import mnist5k
from efficient_jax.data.split import split
from efficient_jax.metrics.accuracy import paired_difference

SEEDS, FIRST, BOUGHT = 5, 4, 60
ARMS = ("random", "margin", "entropy")


def get_config(path: str) -> ConfigDict:
    """The quickstart's teacher and student on an .npz."""
    config = quickstart.get_config()
    config.data = ConfigDict({"source": {"name": "npz", "path": path}, "labels_per_class": 0, "test": 0})
    config.stages = ("augmented", "student")
    return config


def launch(*arguments: str) -> None:
    subprocess.run([sys.executable, "launch.py", *arguments], check=True, stdout=subprocess.DEVNULL)


def train(source: Source, test: np.ndarray, labelled: np.ndarray, run: Path, seed: int, *more: str) -> None:
    labels = np.full(len(source.labels), -1)
    known = np.concatenate([labelled, test])
    labels[known] = source.labels[known]
    np.savez(run.with_suffix(".npz"), images=source.images, labels=labels, test=test, classes=source.classes)
    here = f"--config={__file__}:{run.with_suffix('.npz')}"
    launch("train", here, f"--workdir={run}", f"--config.seed={seed}", *more)


def ranked(source: Source, pool: np.ndarray, run: Path, rank: str) -> np.ndarray:
    """What a person would be told to label next."""
    folder = run / "pool"
    folder.mkdir(exist_ok=True)
    for number in pool.tolist():
        Image.fromarray(source.images[number, ..., 0]).save(folder / f"{number}.png")
    out = run / f"{rank}.csv"
    launch("predict", f"--members={run}", f"--images={folder}", f"--rank={rank}", f"--count={BOUGHT}", f"--out={out}")
    with out.with_name(f"{rank}_to_label.csv").open() as file:
        return np.array([int(Path(row["image"]).stem) for row in csv.DictReader(file)])


def measure(seed: int, arms: list[str], folder: Path, file: Path) -> None:
    source = mnist5k()
    parts = split(source.labels, source.classes, labels_per_class=FIRST, validation=0, test=1000, seed=seed)
    first, pool, test = (parts[name] for name in ("labelled", "unlabelled", "test"))
    train(source, test, first, folder / "first", seed, "--config.stages=('augmented',)")
    for arm in arms:
        random = np.random.default_rng(seed).choice(pool, BOUGHT, replace=False)
        bought = random if arm == "random" else ranked(source, pool, folder / "first", arm)
        run = folder / arm
        train(source, test, np.concatenate([first, bought]), run, seed)
        line = {
            "seed": seed,
            "arm": arm,
            "bought": np.bincount(source.labels[bought], minlength=10).tolist(),
            **{stage: files.read_json(run / stage / "result.json")["test"] for stage in ("augmented", "student")},
        }
        with file.open("a") as out:
            out.write(json.dumps(line) + "\n")


def main(file: Path) -> None:
    for seed in range(SEEDS):
        there = {line["arm"] for line in files.read_lines(file) if line["seed"] == seed}
        if arms := [arm for arm in ARMS if arm not in there]:
            with tempfile.TemporaryDirectory() as folder:
                measure(seed, arms, Path(folder), file)
    lines = sorted(files.read_lines(file), key=lambda of: of["seed"])  # arms are compared seed by seed
    for stage in ("augmented", "student"):
        shares = {
            arm: np.array([100 * of[stage]["correct"] / of[stage]["n"] for of in lines if of["arm"] == arm])
            for arm in ARMS
        }
        for arm, values in shares.items():
            mean, low, high = paired_difference(values, shares["random"])
            print(f"{stage}, {arm}: {values.mean():.2f}%; against random {mean:+.2f} [{low:+.2f}, {high:+.2f}] points")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", ".")
    main(Path(sys.argv[1]))
