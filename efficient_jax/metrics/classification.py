"""Metrics of predictions of one class per image, and confusion matrices. Plain numpy and scikit-learn, on the host."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from efficient_jax.metrics import accuracy, calibration

Probabilities = Float[np.ndarray, "n classes"]
Labels = Int[np.ndarray, " n"]
NOT_COUNTED = 255
"""The label of a pixel without a class."""
OF_PROBABILITIES = ("top5", "negative_log_likelihood", "brier", "calibration_error", "calibration_floor")
"""The metrics that need probabilities: a vote has none, and a likelihood is 0 for a class that nobody voted for."""

ClassFigures = TypedDict(
    "ClassFigures",
    {
        "class": str,  # its name
        "true": int,  # images that have the class
        "answered": int,  # images predicted to have it
        "right": int,  # images that are in both
        "precision": list[float] | None,  # share, low, high of the 95% Wilson interval; None if it has no images
        "recall": list[float] | None,
        "f1": float,  # 0..1
    },
)
"""Counts, precision, recall and F1 of a class."""


def figures(
    probabilities: Probabilities, labels: Labels, answers: Labels, shares: bool = False
) -> dict[str, float | None]:
    """Returns the metrics of predictions of one class per image.

    Args:
        probabilities: one distribution per image, or its shares of the votes of an ensemble.
        labels: true class index of each image.
        answers: predicted class index of each image: the most probable class, or that of a vote.
        shares: whether `probabilities` are shares of votes; the metrics of `OF_PROBABILITIES` are then None.

    Returns: a dict of
        correct, n: images with the right class, and images in total
        balanced_accuracy: mean of recall over the classes that occur
        macro_f1: mean of F1 over the classes; 0 for a class that is never right
        top5: images whose class is among the five most probable
        negative_log_likelihood: mean of -log p(label), in nats
        brier: mean squared distance to the one-hot label, 0..2
        calibration_error, calibration_floor: see `calibration`
    """
    from sklearn.metrics import f1_score, recall_score  # takes 0.5 s, so only where it is needed

    metrics: dict[str, float | None] = {
        "correct": int((answers == labels).sum()),
        "n": len(labels),
        "balanced_accuracy": float(
            recall_score(labels, answers, labels=np.unique(labels), average="macro", zero_division=0)
        ),
        "macro_f1": float(f1_score(labels, answers, average="macro", zero_division=0)),
    }
    if shares:
        return metrics | dict.fromkeys(OF_PROBABILITIES)
    one_hot = labels[:, None] == np.arange(probabilities.shape[1])
    return metrics | {
        "top5": top_k(probabilities, labels, 5),
        "negative_log_likelihood": accuracy.negative_log_likelihood(probabilities, labels),
        "brier": float(np.square(probabilities - one_hot, dtype=np.float64).sum(1).mean()),
        "calibration_error": calibration.expected_calibration_error(probabilities, labels),
        "calibration_floor": calibration.floor(probabilities),
    }


def top_k(probabilities: Probabilities, labels: Labels, k: int) -> int:
    """Returns how many images have their class among the `k` most probable classes.

    Args:
        probabilities: one distribution per image. Of equally probable classes the one of lower index comes first.
        labels: true class index of each image.
        k: 1 or more; from the number of classes on, every image counts.

    Returns: a number of images.
    """
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return int((best == labels[:, None]).any(1).sum())


def per_class(
    answered: Bool[np.ndarray, "n classes"], true: Bool[np.ndarray, "n classes"], classes: Sequence[str]
) -> list[ClassFigures]:
    """Returns counts, precision, recall and F1 of each class.

    Args:
        answered: which image is predicted to have which class.
        true: which image has which class.
        classes: name of each class.

    Returns: the figures of each class, in their order.
    """
    right_count, answered_count, true_count = (true & answered).sum(0), answered.sum(0), true.sum(0)
    return [
        {
            "class": name,
            "true": int(true_count[k]),
            "answered": int(answered_count[k]),
            "right": int(right_count[k]),
            "precision": _share(right_count[k], answered_count[k]),
            "recall": _share(right_count[k], true_count[k]),
            "f1": float(2 * right_count[k] / max(true_count[k] + answered_count[k], 1)),
        }
        for k, name in enumerate(classes)
    ]


def _share(part: int, whole: int) -> list[float] | None:
    """Returns [share, low, high] of `part` in `whole`, with the 95% Wilson interval; None if `whole` is 0."""
    return [float(part / whole), *accuracy.wilson(int(part), int(whole))] if whole else None


def confusion(
    answers: Integer[np.ndarray, " *n"], labels: Integer[np.ndarray, " *n"], classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Returns how many pixels of each true class (row) have each predicted class (column).

    Args:
        answers: predicted class index of each pixel.
        labels: true class index of each pixel, in the same shape. Pixels labelled 255 (`NOT_COUNTED`) are ignored.
        classes: number of classes.

    Returns: the confusion matrix, int64.
    """
    is_counted = labels != NOT_COUNTED
    pairs = labels[is_counted].astype(np.int64) * classes + answers[is_counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
