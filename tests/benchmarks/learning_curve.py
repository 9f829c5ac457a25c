"""Do the gains that `explore` expects from more labels come true? The same labels, then two and four times as many.

    python -m tests.benchmarks.learning_curve clothing FOLDER
    python -m tests.benchmarks.learning_curve mnist5k

For each of ten seeds 1,200 images are kept for the test; 50, 200 and 1,000 others are labelled, drawn at random in the
classes' proportions. The forecast sees these alone. The gain that comes true is that of the same linear head, fitted to
two and four times as many labels (the first ones among them) and tested on the kept images, where there are so many.
Adds to `learning_curve.jsonl` what is not in it; without arguments it prints the table.
"""

import json
import sys
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from efficient_jax import files
from efficient_jax.data import decode, feature_distances
from efficient_jax.explore import features, label_value
from tests.benchmarks.selection import clothing, digits

FILE = Path(__file__).with_suffix(".jsonl")
SEEDS, TEST, LABELS = 10, 1200, (50, 200, 1000)


def accuracy(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    return float((label_value.ridge(x[train], np.eye(y.max() + 1)[y[train]], x[test]).argmax(1) == y[test]).mean())


def measure(x: np.ndarray, y: np.ndarray, labels: int, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    test, pool = np.split(rng.permutation(len(x)), [TEST])
    pool = pool[label_value.mixed(y[pool], rng)]
    forecast = label_value.forecast(x[pool[:labels]], y[pool[:labels]], seed)
    counts = [count for count in (labels, 2 * labels, 4 * labels) if count <= len(pool)]
    true = [round(accuracy(x, y, pool[:count], test), 4) for count in counts]
    expected = [[round(value, 4) for value in (gain.points, gain.low, gain.high)] for gain in forecast.gains]
    return {"labels": labels, "seed": seed, "accuracy": true, "expected": expected}


def main(name: str, *folder: str) -> None:
    x, y = clothing(*folder, features.SIZE) if name == "clothing" else digits()
    if name == "clothing":  # as explore takes them
        x = features.lite0(x)
        x = feature_distances.scores(x / np.linalg.norm(x, axis=1, keepdims=True), label_value.COMPONENTS)
    else:
        x = feature_distances.principal(decode.resized(x, 16))(decode.resized(x, 16))
    there = {(r["data"], r["labels"], r["seed"]) for r in files.read_lines(FILE)}
    for labels in LABELS:
        for seed in range(SEEDS):
            if (name, labels, seed) not in there:
                with threadpool_limits(1):
                    record = {"data": name, **measure(x, y, labels, seed)}
                with FILE.open("a") as out:
                    out.write(json.dumps(record) + "\n")


def table() -> str:
    """In markdown: what was expected and what came true, means over the seeds, and how many intervals hold."""
    records = files.read_lines(FILE)
    lines = [
        "| data | labels | to | expected, points | 95% interval | came true | mean error | intervals that hold |",
        "| --- " * 8 + "|",
    ]
    for data, labels in dict.fromkeys((r["data"], r["labels"]) for r in records):
        for step in (0, 1):
            rows = [r for r in records if (r["data"], r["labels"]) == (data, labels) and len(r["accuracy"]) > step + 1]
            if not rows:
                continue
            points, low, high = 100 * np.array([r["expected"][step] for r in rows]).T
            true = 100 * np.array([r["accuracy"][step + 1] - r["accuracy"][step] for r in rows])
            holds = int(((low <= true) & (true <= high)).sum())
            lines.append(
                f"| {data} | {labels * 2**step:,} | {labels * 2 ** (step + 1):,} | {points.mean():+.1f} | "
                f"[{low.mean():.1f}, {high.mean():.1f}] | {true.mean():+.1f} | {np.abs(points - true).mean():.1f} | "
                f"{holds} of {len(rows)} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(*sys.argv[1:])
    print(table())
