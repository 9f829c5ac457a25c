"""Which head is best on the features of a frozen network? EfficientNet-Lite0, 4, 20 and all labels per class.

    python -m tests.benchmarks.heads CLOTHING

CLOTHING has the folders `train` and `validation`, with a folder for each class; the latter are the test images.
Features of all images are computed once, at 96 pixels. Each of five seeds draws labelled images of every class, for all
heads alike; with all labels it only draws folds. `best` is the head that cross-validation on labelled images chooses.
`linear` is trained in 300 steps of 32 features by AdamW with a learning rate of 1e-2, which was not tuned. Adds to
`heads.jsonl` what is not in it; without a folder it prints the table.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy

from efficient_jax import files
from efficient_jax.data import decode
from efficient_jax.data.framing import Framing
from efficient_jax.explore import features
from efficient_jax.methods.linear_probe import linear_probe
from efficient_jax.metrics import accuracy, calibration
from efficient_jax.models import heads
from efficient_jax.optim import optimizer
from efficient_jax.tasks import CLASSIFICATION

FILE = Path(__file__).with_suffix(".jsonl")
SEEDS, LABELS, STEPS, BATCH = range(5), (4, 20, 0), 300, 32
ARMS = ("ridge", "logistic", "cosine", "knn", "linear", "best")


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The features of the images of a folder, their classes, and the names of the classes."""
    paths = sorted(folder.glob("*/*.jpg"))
    classes, labels = np.unique([path.parent.name for path in paths], return_inverse=True)
    images = decode.decode_all(paths.__getitem__, len(paths), Framing(features.SIZE)).images
    return features.lite0_network().predict(images)[1], labels, list(classes)


def trained(x: np.ndarray, targets: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """A linear head, trained by steps on features."""
    params = {"kernel": jnp.zeros((x.shape[1], targets.shape[1])), "bias": jnp.zeros(targets.shape[1])}
    tx, _ = optimizer.optimizer(params, STEPS, learning_rate=1e-2, weight_decay=1e-2, clip=1.0, rules=((".*", 1.0),))

    @jax.jit
    def step(params, state, x, y):
        def loss(params):
            return optax.softmax_cross_entropy(heads.linear(params, x), y).mean()

        return optimizer.update(tx, jax.grad(loss)(params), state, params)

    state, rng = tx.init(params), np.random.default_rng(seed)
    for _ in range(STEPS):
        rows = rng.choice(len(x), BATCH, replace=len(x) < BATCH)
        params, state = step(params, state, x[rows], targets[rows])
    return params


def measure(arm: str, x: np.ndarray, targets: np.ndarray, classes: list[str], seed: int) -> tuple[str, dict, str]:
    """(name, parameters, what was chosen) of the head of an arm."""
    if arm == "linear":
        return "linear", trained(x, targets, seed), ""
    probe = linear_probe({"network": x}, targets, seed, None, CLASSIFICATION, classes, head=arm)
    return probe.head.name, probe.head.params, probe.tried[0]["head"] if arm == "best" else ""


def main(folder: str) -> None:
    (x, labels, classes), (tested, truth, _) = (read(Path(folder) / part) for part in ("train", "validation"))
    there = {(r["labels"], r["seed"], r["arm"]) for r in files.read_lines(FILE)}
    for count in LABELS:
        for seed in SEEDS:
            rng = np.random.default_rng(seed)
            rows = [rng.permutation(np.flatnonzero(labels == k))[: count or None] for k in range(len(classes))]
            known = np.sort(np.concatenate(rows))
            targets = np.eye(len(classes), dtype=np.float32)[labels[known]]
            for arm in ARMS:
                if (count, seed, arm) in there:
                    continue
                name, params, chosen = measure(arm, x[known], targets, classes, seed)
                params = {key: jnp.asarray(value, jnp.float32) for key, value in params.items()}
                said = scipy.special.softmax(np.float64(heads.HEADS[name](params, tested)), axis=1)
                record = {"labels": count, "seed": seed, "arm": arm, "chosen": chosen, "n": len(truth)}
                record["correct"] = int((said.argmax(1) == truth).sum())
                record["negative_log_likelihood"] = round(accuracy.negative_log_likelihood(said, truth), 4)
                record["calibration_error"] = round(calibration.expected_calibration_error(said, truth), 4)
                with FILE.open("a") as out:
                    out.write(json.dumps(record) + "\n")


def table() -> str:
    """In markdown: mean accuracies with paired differences to `logistic`, and likelihoods."""
    records = sorted(files.read_lines(FILE), key=lambda record: record["seed"])
    names = [f"{count} per class" if count else "all" for count in LABELS]
    lines = ["| head | " + " | ".join(f"{name}, % | NLL" for name in names) + " |", "| --- " * 7 + "|"]
    for arm in ARMS:
        cells = []
        for count in LABELS:
            of_arm, others = (
                [r for r in records if (r["labels"], r["arm"]) == (count, name)] for name in (arm, "logistic")
            )
            seeds = {r["seed"] for r in of_arm} & {r["seed"] for r in others}
            of_arm, others = ([r for r in rows if r["seed"] in seeds] for rows in (of_arm, others))
            if len(seeds) < 2:
                cells += ["", ""]
                continue
            right, reference = (np.array([100 * r["correct"] / r["n"] for r in rows]) for rows in (of_arm, others))
            cell = f"{right.mean():.1f}"
            if arm != "logistic":
                mean, low, high = accuracy.paired_difference(right, reference)
                cell += f" ({mean:+.1f} [{low:+.1f}, {high:+.1f}])"
            cells += [cell, f"{np.mean([r['negative_log_likelihood'] for r in of_arm]):.2f}"]
        lines.append(f"| `{arm}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    print(table())
