"""Which selection is worth its labels? 10, 20, 40 and 100 labels of 10 pools, a logistic head on fixed features.

    python -m tests.benchmarks.selection mnist5k
    python -m tests.benchmarks.selection clothing FOLDER

Digits have 40 principal components of the pool, clothing (FOLDER/any/class/image.jpg) the features of
EfficientNet-Lite0 at 96 pixels. Each pool has 2,000 images and 1,000 others for the test, all drawn at random; every
selection works on the same pools. Selections that need a model start from the first 10 of `coverage` and choose again
at each number of labels. The penalty of the head is chosen among the labelled images as `methods.linear_head` does.
Adds to `selection.jsonl` what is not in it; `python -m tests.benchmarks.selection` prints the table.
"""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from efficient_jax import files
from efficient_jax.data import decode, feature_distances
from efficient_jax.data.framing import squash
from efficient_jax.data.sources.handwritten_digits import mnist5k
from efficient_jax.explore import features
from efficient_jax.methods import linear_head
from efficient_jax.metrics.accuracy import paired_difference
from efficient_jax.selection import badge, clusters, controls, coverage, uncertainty

FILE = Path(__file__).with_suffix(".jsonl")
POOLS, POOL, TEST = 10, 2000, 1000
LABELS = (10, 20, 40, 100)
DATA = {"mnist5k": "digits", "clothing": "clothing"}

Model = Callable[[], np.ndarray]
"""Probabilities of the pool by the head that was fitted to the images that are labelled so far."""


def chosen(arm: str, x: np.ndarray, y: np.ndarray, count: int, labelled: np.ndarray, seed: int, model: Model):
    """The next `count` images of a pool: its features, its labels, those that are labelled already."""
    match arm:
        case "uniform":
            return controls.uniform(len(x), count, labelled, seed)
        case "class_balanced":
            return controls.class_balanced(y, count, labelled, seed)
        case "coverage":
            return coverage.coverage(x, count, labelled, seed)
        case "typical":
            return clusters.typical(x, count, labelled, seed)
        case "centroids":
            return clusters.centroids(x, count, labelled, seed)
        case "uncertainty_coverage":
            return coverage.uncertainty_coverage(x, model(), count, labelled, seed)
        case "badge":
            return badge.badge(x, model(), count, labelled, seed)
        case "margin" | "entropy":
            return uncertainty.highest(getattr(uncertainty, arm)(model()[None]), count, labelled)
    raise ValueError(arm)


AT_ONCE = ("uniform", "class_balanced", "coverage", "typical", "centroids")
IN_ROUNDS = ("coverage", "uncertainty_coverage", "badge", "margin", "entropy")
ARMS = (*((arm, "at once") for arm in AT_ONCE), *((arm, "in rounds") for arm in IN_ROUNDS))


def head(x: np.ndarray, y: np.ndarray, labelled: np.ndarray, classes: int) -> Callable[[np.ndarray], np.ndarray]:
    fitted = linear_head.choose(x[labelled], np.eye(classes)[y[labelled]], kind="logistic", seed=0)
    return lambda rows: linear_head.CLASSIFICATION_HEAD.probabilities(rows @ fitted.kernel + fitted.bias)


def _predicted(x: np.ndarray, y: np.ndarray, labelled: np.ndarray, classes: int) -> np.ndarray:
    return head(x, y, labelled, classes)(x)


def measure(arm: str, how: str, x: np.ndarray, y: np.ndarray, test: tuple[np.ndarray, np.ndarray], seed: int) -> dict:
    classes = int(y.max()) + 1
    labelled = np.zeros(0, int)
    accuracies, shown = [], []
    for labels in LABELS:
        first = "coverage" if how == "in rounds" and not len(labelled) else arm
        if how == "at once":
            labelled = chosen(arm, x, y, labels, (), seed, lambda: np.zeros(0))
        else:
            known = labelled
            model = functools.partial(_predicted, x, y, known, classes)
            more = chosen(first, x, y, labels - len(known), known, seed, model)
            labelled = np.concatenate([labelled, more])
        predicted = head(x, y, labelled, classes)(test[0]).argmax(1)
        accuracies.append(round(100 * float((predicted == test[1]).mean()), 2))
        shown.append(len(np.unique(y[labelled])))
    return {"seed": seed, "arm": arm, "how": how, "accuracy": accuracies, "classes": shown}


def digits() -> tuple[np.ndarray, np.ndarray]:
    source = mnist5k()
    return source.images, source.labels


def clothing(folder: str) -> tuple[np.ndarray, np.ndarray]:
    paths = sorted(Path(folder).glob("**/*.jpg"))
    _, labels = np.unique([path.parent.name for path in paths], return_inverse=True)
    images = decode.decode_all(paths.__getitem__, len(paths), squash(features.SIZE, 3)).images
    return features.lite0(images), labels


def main(name: str, *folder: str) -> None:
    values, labels = digits() if name == "mnist5k" else clothing(*folder)
    there = {(r["data"], r["seed"], r["arm"], r["how"]) for r in files.read_lines(FILE)}
    for seed in range(POOLS):
        order = np.random.default_rng(seed).permutation(len(values))
        test, pool = order[:TEST], np.sort(order[TEST : TEST + POOL])
        extract = feature_distances.principal(values[pool], 40) if name == "mnist5k" else np.asarray
        x, tested = extract(values[pool]), (extract(values[test]), labels[test])
        for arm, how in ARMS:
            if (name, seed, arm, how) not in there:
                with threadpool_limits(2):
                    record = {"data": name, **measure(arm, how, x, labels[pool], tested, seed)}
                with FILE.open("a") as out:
                    out.write(json.dumps(record) + "\n")


def table() -> str:
    """In markdown: mean accuracies, and paired differences to both controls with 95% intervals."""
    records = sorted(files.read_lines(FILE), key=lambda record: record["seed"])
    lines = []
    for name, title in DATA.items():
        of_arm = {
            (arm, how): np.array(
                [r["accuracy"] for r in records if (r["data"], r["arm"], r["how"]) == (name, arm, how)]
            )
            for arm, how in ARMS
        }
        lines += [
            f"| {title} | | " + " | ".join(f"{k} labels" for k in LABELS) + " |",
            "| --- " * (len(LABELS) + 2) + "|",
        ]
        for (arm, how), values in of_arm.items():
            if len(values):
                cells = [f"{mean:.1f}" for mean in values.mean(0)]
                if (arm, how) != ARMS[0]:
                    pairs = zip(values.T, of_arm[ARMS[0]].T, strict=True)
                    gains = [paired_difference(*pair) for pair in pairs]
                    cells = [
                        f"{cell} ({g[0]:+.1f} [{g[1]:+.1f}, {g[2]:+.1f}])" for cell, g in zip(cells, gains, strict=True)
                    ]
                lines.append(f"| `{arm}` | {how} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(*sys.argv[1:])
    print(table())
