"""What predictions of one class for each image or pixel are worth. Plain numpy and scikit-learn, on the host."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.metrics import f1_score, recall_score

from efficient_jax.metrics import accuracy, calibration

Probabilities = Float[np.ndarray, "n classes"]
Labels = Int[np.ndarray, "n"]
NOT_COUNTED = 255
"""The label of a pixel of no class."""
OF_PROBABILITIES = ("top5", "negative_log_likelihood", "brier", "calibration_error", "calibration_floor")


def figures(probabilities: Probabilities, labels: Labels, answers: Labels, shares: bool = False) -> dict[str, Any]:
    """`answers` are the classes answered: the most probable ones, or those of a vote. `shares` says that
    `probabilities` are shares of votes: what only probabilities have is then None (a likelihood is 0 where nobody
    voted for the class).

    correct, n              images answered with their class, and how many images there are
    top5                    images whose class is among the five most probable
    balanced_accuracy       mean over the classes that occur of the share of their images that are right
    macro_f1                mean over the classes of F1; 0 for one that is never right
    negative_log_likelihood in nats; brier: mean squared distance to the one-hot label, 0 .. 2
    calibration_error       with its floor, see `calibration`
    """
    found = {
        "correct": int((answers == labels).sum()),
        "n": len(labels),
        "balanced_accuracy": float(
            recall_score(labels, answers, labels=np.unique(labels), average="macro", zero_division=0)
        ),
        "macro_f1": float(f1_score(labels, answers, average="macro", zero_division=0)),
    }
    if shares:
        return found | dict.fromkeys(OF_PROBABILITIES)
    one_hot = labels[:, None] == np.arange(probabilities.shape[1])
    return found | {
        "top5": top_k(probabilities, labels, 5),
        "negative_log_likelihood": accuracy.negative_log_likelihood(probabilities, labels),
        "brier": float(np.square(probabilities - one_hot, dtype=np.float64).sum(1).mean()),
        "calibration_error": calibration.expected_calibration_error(probabilities, labels),
        "calibration_floor": calibration.floor(probabilities),
    }


def top_k(probabilities: Probabilities, labels: Labels, k: int) -> int:
    """Images whose class is among the `k` most probable; of equally probable ones the first count."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return int((best == labels[:, None]).any(1).sum())


def per_class(
    answers: Int[np.ndarray, "n *classes"], labels: Int[np.ndarray, "n *classes"], classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """For each class how many images have it (`true`) and were answered with it (`answered`), both in `right`, and
    precision, recall (each with its 95% Wilson interval, None without an image) and F1. Of several labels an image has
    and is answered 0 and 1 for each class."""
    is_so, said = (x if x.ndim == 2 else x[:, None] == np.arange(len(classes)) for x in (labels, answers))
    right, answered, true = (is_so * said).sum(0), said.sum(0), is_so.sum(0)
    return [
        {
            "class": name,
            "true": int(true[k]),
            "answered": int(answered[k]),
            "right": int(right[k]),
            "precision": _share(right[k], answered[k]),
            "recall": _share(right[k], true[k]),
            "f1": float(2 * right[k] / max(true[k] + answered[k], 1)),
        }
        for k, name in enumerate(classes)
    ]


def _share(part: int, whole: int) -> list[float] | None:
    """[share, low, high]"""
    return [float(part / whole), *accuracy.wilson(int(part), int(whole))] if whole else None


def of_pixels(answers: Int[np.ndarray, "n h w"], labels: Int[np.ndarray, "n h w"], classes: Sequence[str]) -> dict:
    """Over all pixels of all maps; those labelled 255 do not count.

    correct, n  pixels answered with their class, and how many there are
    iou         for each class intersection over union, None for one that occurs in neither
    mean_iou    the mean over the classes that occur
    """
    return of_confusion(confusion(answers, labels, len(classes)), classes)


def confusion(
    answers: Int[np.ndarray, "*n"], labels: Int[np.ndarray, "*n"], classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Returns how many pixels of each class (row) were answered with each class (column); 255 does not count."""
    counted = labels != NOT_COUNTED
    pairs = labels[counted].astype(np.int64) * classes + answers[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def of_confusion(confusion: Int[np.ndarray, "classes classes"], classes: Sequence[str]) -> dict:
    """Returns the figures of `of_pixels` from the counts of `confusion`."""
    both, union = np.diag(confusion), confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    iou = {name: float(b / u) if u else None for name, b, u in zip(classes, both, union, strict=True)}
    there = [value for value in iou.values() if value is not None]
    return {"correct": int(both.sum()), "n": int(confusion.sum()), "iou": iou, "mean_iou": float(np.mean(there))}
