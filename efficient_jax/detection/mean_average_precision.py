"""How good boxes are: COCO's mean average precision, on the host."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from efficient_jax.detection.boxes import intersection_over_union
from efficient_jax.detection.detections import Found, check
from efficient_jax.settings import counted
from efficient_jax.types import UserError

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)


def mean_average_precision(found: Sequence[Found], truth: Sequence[Found], most: int = 100) -> dict:
    """COCO's AP of the boxes found in images, against the true ones, which need no scores.

    ap, ap50, ap75  mean over the classes that occur in `truth`, at IoU 0.5:0.95, 0.5 and 0.75
    classes         those classes, int [classes]
    each            AP of each of them at each IoU, float [classes 10]

    Image by image the `most` best boxes of a class, the best first, take the true box that they overlap most of those
    not yet taken, where that is at least the threshold; precision is interpolated at 101 recalls. No crowds, no ranges
    of area: pycocotools' `area=all` for truth without `iscrowd`.
    """
    if len(found) != len(truth):
        images = counted(len(found), "image")
        raise UserError(f"boxes found in {images}, true ones of {len(truth)}; give one of each for an image")
    found = [check(boxes, f"found in image {number}") for number, boxes in enumerate(found)]
    truth = [check(boxes, f"truth of image {number}", ("boxes", "labels")) for number, boxes in enumerate(truth)]
    if not any(len(image["labels"]) for image in truth):
        raise UserError("truth: no boxes at all; average precision needs at least one")
    classes, counts = np.unique(np.concatenate([image["labels"] for image in truth]), return_counts=True)
    scores: dict[int, list] = {label: [] for label in classes.tolist()}
    hits: dict[int, list] = {label: [] for label in classes.tolist()}
    for guesses, real in zip(found, truth, strict=True):
        for label in np.intersect1d(guesses["labels"], classes).tolist():
            mine = np.flatnonzero(guesses["labels"] == label)
            mine = mine[np.argsort(-guesses["scores"][mine], kind="stable")][:most]
            scores[label].append(guesses["scores"][mine])
            hits[label].append(matched(guesses["boxes"][mine], real["boxes"][real["labels"] == label]))
    each = np.array(
        [average_precision(scores[c], hits[c], n) for c, n in zip(classes.tolist(), counts.tolist(), strict=True)]
    )
    ap = each.mean(0)
    return {"ap": float(ap.mean()), "ap50": float(ap[0]), "ap75": float(ap[5]), "classes": classes, "each": each}


def matched(boxes: Float[np.ndarray, "n 4"], real: Float[np.ndarray, "m 4"]) -> Bool[np.ndarray, "n thresholds"]:
    """Whether each box, the best first, takes a true one at each threshold; of equal overlaps COCO's, the last."""
    free = np.ones((len(THRESHOLDS), len(real)), bool)
    hit = np.zeros((len(boxes), len(THRESHOLDS)), bool)
    if len(real) == 0:
        return hit
    overlaps = intersection_over_union(boxes.T.astype(np.float64)[:, :, None], real.T.astype(np.float64)[:, None, ::-1])
    for number, overlap in enumerate(overlaps):
        which = np.where(free, overlap, -1.0).argmax(1)
        hit[number] = free[range(len(THRESHOLDS)), which] & (overlap[which] >= THRESHOLDS)
        free[hit[number], which[hit[number]]] = False
    return hit


def average_precision(scores: list, hits: list, true: int) -> Float[np.ndarray, "thresholds"]:
    if not scores:
        return np.zeros(len(THRESHOLDS))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    right = np.concatenate(hits)[order].cumsum(0)
    recall = right / true
    precision = right / np.arange(1, len(right) + 1)[:, None]
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the best at this recall or a higher one
    index = [np.searchsorted(recall[:, t], RECALLS) for t in range(len(THRESHOLDS))]
    padded = np.pad(precision, ((0, 1), (0, 0)))
    return np.array([padded[index[t], t].mean() for t in range(len(THRESHOLDS))])
