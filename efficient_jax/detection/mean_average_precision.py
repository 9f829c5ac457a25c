"""COCO's mean average precision of detections, on the host."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from efficient_jax.detection.boxes import intersection_over_union
from efficient_jax.detection.detections import Boxes, check
from efficient_jax.errors import UserError, counted

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)


def mean_average_precision(predicted: Sequence[Boxes], truth: Sequence[Boxes], most: int = 100) -> dict[str, Any]:
    """Returns COCO's average precision (AP) of predicted boxes.

    In each image the `most` best boxes of a class, by descending score, are matched to the unmatched true box that they
    overlap most, if that IoU reaches the threshold. Precision is interpolated at 101 recalls. There are no crowds and
    no ranges of area: pycocotools' `area=all` for annotations without `iscrowd`.

    Args:
        predicted: the predicted boxes of each image.
        truth: the true boxes of each image, in the same order; they need no scores.
        most: how many boxes of a class count in an image.

    Returns:
        ap, ap50, ap75  mean over the classes that occur in `truth`, at IoU 0.5:0.95, 0.5 and 0.75
        classes         those classes, int [classes]
        each            AP of each of them at each IoU, float [classes 10]

    Raises:
        UserError: the lengths differ, arrays are not boxes, or `truth` has no boxes.
    """
    if len(predicted) != len(truth):
        images = counted(len(predicted), "image")
        raise UserError(f"boxes found in {images}, true ones of {len(truth)}; give one of each for an image")
    detected = [check(boxes, f"found in image {number}") for number, boxes in enumerate(predicted)]
    annotated = [check(boxes, f"truth of image {number}", ("boxes", "labels")) for number, boxes in enumerate(truth)]
    if not any(len(image["labels"]) for image in annotated):
        raise UserError("truth: no boxes at all; average precision needs at least one")
    classes, counts = np.unique(np.concatenate([image["labels"] for image in annotated]), return_counts=True)
    scores: dict[int, list[np.ndarray]] = {label: [] for label in classes.tolist()}
    hits: dict[int, list[np.ndarray]] = {label: [] for label in classes.tolist()}
    for detections, true in zip(detected, annotated, strict=True):
        for label in np.intersect1d(detections["labels"], classes).tolist():
            ranking = np.flatnonzero(detections["labels"] == label)
            ranking = ranking[np.argsort(-detections["scores"][ranking], kind="stable")][:most]
            scores[label].append(detections["scores"][ranking])
            hits[label].append(matched(detections["boxes"][ranking], true["boxes"][true["labels"] == label]))
    per_class = np.array(
        [average_precision(scores[c], hits[c], n) for c, n in zip(classes.tolist(), counts.tolist(), strict=True)]
    )
    ap = per_class.mean(0)
    return {"ap": float(ap.mean()), "ap50": float(ap[0]), "ap75": float(ap[5]), "classes": classes, "each": per_class}


def matched(boxes: Float[np.ndarray, "n 4"], true: Float[np.ndarray, "m 4"]) -> Bool[np.ndarray, "n thresholds"]:
    """Returns whether each predicted box is matched to a true box, at each threshold of `THRESHOLDS`.

    Args:
        boxes: predicted boxes of one class in one image, by descending score.
        true: true boxes of that class and image.

    Returns:
        bool [n thresholds]. Of equal overlaps the last true box is taken, as in COCO.
    """
    free = np.ones((len(THRESHOLDS), len(true)), bool)
    hits = np.zeros((len(boxes), len(THRESHOLDS)), bool)
    if len(true) == 0:
        return hits
    overlaps = intersection_over_union(boxes.T.astype(np.float64)[:, :, None], true.T.astype(np.float64)[:, None, ::-1])
    for number, overlap in enumerate(overlaps):
        nearest = np.where(free, overlap, -1.0).argmax(1)
        hits[number] = free[range(len(THRESHOLDS)), nearest] & (overlap[nearest] >= THRESHOLDS)
        free[hits[number], nearest[hits[number]]] = False
    return hits


def average_precision(scores: list[np.ndarray], hits: list[np.ndarray], true: int) -> Float[np.ndarray, " thresholds"]:
    """Returns the interpolated average precision of one class at each threshold of `THRESHOLDS`.

    Args:
        scores: scores of the predicted boxes, one array [n] per image.
        hits: whether each is matched, one array [n thresholds] per image.
        true: how many true boxes there are, 1 and above.

    Returns:
        AP in 0..1, float [thresholds]; 0.0 without predicted boxes.
    """
    if not scores:
        return np.zeros(len(THRESHOLDS))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    right = np.concatenate(hits)[order].cumsum(0)
    recall = right / true
    precision = right / np.arange(1, len(right) + 1)[:, None]
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or a higher one
    index = [np.searchsorted(recall[:, t], RECALLS) for t in range(len(THRESHOLDS))]
    padded = np.pad(precision, ((0, 1), (0, 0)))
    return np.array([padded[index[t], t].mean() for t in range(len(THRESHOLDS))])
