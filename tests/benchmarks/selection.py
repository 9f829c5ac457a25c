"""Which selection is worth its labels? 10 to 100 labels, at once and in rounds, and what is trained on them.

    python -m tests.benchmarks.selection mnist5k head
    python -m tests.benchmarks.selection clothing head FOLDER
    python -m tests.benchmarks.selection clothing finetuned FOLDER
    python -m tests.benchmarks.selection clothing student FOLDER

Digits have 40 principal components of the pool, clothing (FOLDER/any/class/image.jpg) the features of
EfficientNet-Lite0 at 96 pixels. Each pool has 2,000 images and 1,000 others for the test, all drawn at random; every
selection works on the same pools. `head` is a logistic head on these features, whose penalty is chosen among the
labelled images as `methods.linear_head` does; `finetuned` and `student` are those of `fine_tuning.py`, at 64 pixels.
Selections that need a model start from the first labels by `coverage`, and choose again at each number of labels, as
`select --members` does. Adds to `selection.jsonl` what is not in it, so that a stopped run carries on;
`python -m tests.benchmarks.selection` prints the tables and draws the figure.
"""

import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from efficient_jax import files
from efficient_jax.data import decode, feature_distances
from efficient_jax.data.framing import squash
from efficient_jax.data.sources.handwritten_digits import mnist5k
from efficient_jax.explore import features
from efficient_jax.methods import linear_head
from efficient_jax.selection import badge, clusters, controls, coverage, uncertainty
from tests.benchmarks import fine_tuning, selection_tables

FILE = Path(__file__).with_suffix(".jsonl")
POOL, TEST = 2000, 1000
POOLS = {"head": 10, "finetuned": 5, "student": 3}
LABELS, ROUNDS = (10, 20, 40, 100), (40, 60, 80)


class Trial(NamedTuple):
    """A selection, and the numbers of labels at which its accuracy is measured."""

    arm: str
    how: str  # "at once" or "in rounds"
    labels: tuple[int, ...]


class Pool(NamedTuple):
    """The images of a trial, and those of its test."""

    x: np.ndarray  # features
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


class Model(NamedTuple):
    """What was trained on the images that are labelled so far."""

    test: Callable[[], np.ndarray]  # probabilities of the test images
    pool: Callable[[], tuple[np.ndarray, np.ndarray]]  # probabilities and features of the pool


Learner = Callable[[Pool, np.ndarray, int], Model]
"""(pool, indices of the labelled images, seed) -> model"""

AT_ONCE = ("uniform", "class_balanced", "coverage", "typical", "centroids")
IN_ROUNDS = ("coverage", "uncertainty_coverage", "badge", "margin", "entropy")
LOOP = (
    Trial("uniform", "at once", ROUNDS),
    Trial("class_balanced", "at once", ROUNDS),
    Trial("coverage", "at once", ROUNDS),
    Trial("uncertainty_coverage", "in rounds", ROUNDS),
)
TRIALS = {
    "head": (
        *(Trial(arm, "at once", LABELS) for arm in AT_ONCE),
        *(Trial(arm, "in rounds", LABELS) for arm in IN_ROUNDS),
        *LOOP,
    ),
    "finetuned": (
        LOOP[-1],
        *(Trial(arm, "at once", (80,)) for arm in ("uniform", "coverage")),
        *(Trial(arm, "at once", (labels,)) for labels in (20, 40, 10) for arm in AT_ONCE),
    ),
    "student": tuple(Trial(arm, "at once", (labels,)) for labels in (40, 20) for arm in ("uniform", "coverage")),
}


def chosen(arm: str, pool: Pool, count: int, labelled: Sequence[int], seed: int, model: Model | None) -> np.ndarray:
    """The next `count` images of a pool; `labelled` are so already."""
    x, y = pool.x, pool.y
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
    assert model, "the other selections need a model"
    probabilities, x = model.pool()
    match arm:
        case "uncertainty_coverage":
            return coverage.uncertainty_coverage(x, probabilities, count, labelled, seed)
        case "badge":
            return badge.badge(x, probabilities, count, labelled, seed)
        case "margin" | "entropy":
            return uncertainty.highest(getattr(uncertainty, arm)(probabilities[None]), count, labelled)
    raise ValueError(arm)


def measure(trial: Trial, pool: Pool, learn: Learner, seed: int) -> tuple[list[float], list[int]]:
    """Returns accuracies in %, and how many classes are among the labelled images, at each number of labels."""
    labelled, model = np.zeros(0, int), None
    accuracies, shown = [], []
    for labels in trial.labels:
        if trial.how == "at once":
            labelled = chosen(trial.arm, pool, labels, (), seed, None)
        else:
            arm = trial.arm if model else "coverage"
            more = chosen(arm, pool, labels - len(labelled), labelled, seed, model)
            labelled = np.concatenate([labelled, more])
        model = learn(pool, labelled, seed)
        accuracies.append(round(100 * float((model.test().argmax(1) == pool.test_y).mean()), 2))
        shown.append(len(np.unique(pool.y[labelled])))
    return accuracies, shown


def head(x: np.ndarray, y: np.ndarray, classes: int) -> linear_head.Choice:
    return linear_head.choose(x, np.eye(classes)[y], kind="logistic", seed=0)


def with_head(pool: Pool, labelled: np.ndarray, _: int) -> Model:
    fitted = head(pool.x[labelled], pool.y[labelled], int(pool.y.max()) + 1)

    def predicted(x: np.ndarray) -> np.ndarray:
        return linear_head.CLASSIFICATION_HEAD.probabilities(x @ fitted.kernel + fitted.bias)

    return Model(lambda: predicted(pool.test_x), lambda: (predicted(pool.x), pool.x))


def with_network(
    tuner: fine_tuning.Tuner, learner: str, images: Any, start: np.ndarray, pool: Pool, labelled: np.ndarray, seed: int
) -> Model:
    """Trains all layers, and with "student" a noisy student of the result.

    `images` are those of pool and test on the device, `start` the features of the pool that a head is fitted to.
    """
    of_pool, of_test = np.arange(len(pool.y)), np.arange(len(pool.y), len(images))
    fitted = head(start[labelled], pool.y[labelled], tuner.classes)
    variables = tuner.tuned(fitted, images, pool.y, labelled, seed)
    if learner == "student":
        rest = np.setdiff1d(of_pool, labelled)
        variables = tuner.student(fitted, variables, images, pool.y, labelled, rest, seed)
    return Model(
        lambda: tuner.probabilities(variables, images, of_test),
        lambda: (tuner.probabilities(variables, images, of_pool), tuner.features(images, of_pool, variables)),
    )


def digits() -> tuple[np.ndarray, np.ndarray]:
    source = mnist5k()
    return source.images, source.labels


def clothing(folder: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    paths = sorted(Path(folder).glob("**/*.jpg"))
    _, labels = np.unique([path.parent.name for path in paths], return_inverse=True)
    return decode.decode_all(paths.__getitem__, len(paths), squash(size, 3)).images, labels


def main(name: str, learner: str, *folder: str) -> None:
    values, labels = digits() if name == "mnist5k" else clothing(*folder, features.SIZE)
    vectors = values if name == "mnist5k" else features.lite0(values)
    tuner = None if learner == "head" else fine_tuning.Tuner(int(labels.max()) + 1)
    small = clothing(*folder, tuner.size)[0] if tuner else values
    for seed in range(POOLS[learner]):
        order = np.random.default_rng(seed).permutation(len(values))
        test, pool = order[:TEST], np.sort(order[TEST : TEST + POOL])
        extract = feature_distances.principal(values[pool], 40) if name == "mnist5k" else np.asarray
        drawn = Pool(extract(vectors[pool]), labels[pool], extract(vectors[test]), labels[test])
        learn: Learner = with_head
        if tuner:
            images = tuner.place(small[np.concatenate([pool, test])])
            start = tuner.features(images, np.arange(len(pool)))
            learn = functools.partial(with_network, tuner, learner, images, start)
        for trial in TRIALS[learner]:
            key = {"data": name, "learner": learner, "seed": seed, **trial._asdict(), "labels": [*trial.labels]}
            if not any(key.items() <= record.items() for record in files.read_lines(FILE)):
                with threadpool_limits(2):
                    accuracies, classes = measure(trial, drawn, learn, seed)
                with FILE.open("a") as out:
                    out.write(json.dumps(key | {"accuracy": accuracies, "classes": classes}) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(*sys.argv[1:])
    else:
        selection_tables.draw(files.read_lines(FILE))
        print(selection_tables.tables(files.read_lines(FILE)))
