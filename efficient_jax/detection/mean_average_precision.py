"""COCO's average precision and recall of detections, on the host."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from efficient_jax.detection.boxes import intersection_over_union
from efficient_jax.detection.detections import Boxes, Found, check
from efficient_jax.detection.overlap import area
from efficient_jax.errors import UserError, counted

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = 100  # boxes of a class that count in an image
SMALL, LARGE = 32.0, 96.0  # pixels: up to the square of the first an object is small, from that of the second large
SIZES = {"small": (0.0, SMALL**2), "medium": (SMALL**2, LARGE**2), "large": (LARGE**2, np.inf)}
"""Name -> smallest and largest area of its objects in pixels; an area on the border belongs to both, as in COCO."""
ALL = (0.0, np.inf)
OPTIONAL = ("areas", "crowds")  # arrays beside boxes, scores and labels

Ranges = Sequence[tuple[float, float]]
"""The smallest and the largest area of the objects that count, several times."""


class Matches(NamedTuple):
    """Which predicted boxes of a class are matched, at each threshold of `THRESHOLDS` and in each range of areas."""

    right: Bool[np.ndarray, "n ranges thresholds"]  # to a true box that counts
    ignored: Bool[np.ndarray, "n ranges thresholds"]  # to another one: a crowd, or one outside of the range


class Judged(NamedTuple):
    """The predicted boxes of a class in all images, by descending score."""

    right: Bool[np.ndarray, "n ranges thresholds"]
    counted: Bool[np.ndarray, "n ranges thresholds"]  # right or wrong; the others are left out
    rank: Int[np.ndarray, " n"]  # by the score among the boxes of its image, from 0 on
    true: Int[np.ndarray, " ranges"]  # number of true boxes that count


def mean_average_precision(predicted: Sequence[Boxes], truth: Sequence[Boxes], most: int = MOST) -> dict[str, Any]:
    """Returns COCO's average precision (AP) of predicted boxes of all sizes.

    In each image the `most` best boxes of a class, by descending score, are matched to the unmatched true box that they
    overlap most, if that IoU reaches the threshold. Precision is interpolated at 101 recalls.

    Args:
        predicted: the predicted boxes of each image.
        truth: the true boxes of each image, in the same order; they need no scores. "crowds", bool [n], if it is given,
            says which are regions of many objects: a box that is matched to one is neither right nor wrong.
        most: how many boxes of a class count in an image.

    Returns:
        ap, ap50, ap75  mean over the classes that occur in `truth`, at IoU 0.5:0.95, 0.5 and 0.75
        classes         those classes, int [classes]
        each            AP of each of them at each IoU, float [classes 10]

    Raises:
        UserError: the lengths differ, arrays are not boxes, or `truth` has no boxes.
    """
    judged = _judged(predicted, truth, most, [ALL])
    return _of_all_sizes(judged, np.stack([average_precision(each)[0] for each in judged.values()]))


def coco_figures(predicted: Sequence[Boxes], truth: Sequence[Boxes]) -> dict[str, Any]:
    """Returns the twelve figures of COCO's evaluation: pycocotools' `COCOeval.stats`, NaN in place of -1.

    Args:
        predicted: as for `mean_average_precision`, with "areas", float [n], where those of the boxes in `SIZES` are
            others than in the coordinates of the boxes.
        truth: the same of the true boxes; "areas" may be those of their masks, which COCO takes.

    Returns: `mean_average_precision` with
        ap_small, ap_medium, ap_large  AP of objects of the `SIZES`; NaN where there are none
        ar1, ar10, ar100               average recall with so many boxes of a class in each image
        ar_small, ar_medium, ar_large  average recall with 100

    Raises: UserError as `mean_average_precision`.
    """
    judged = _judged(predicted, truth, MOST, [ALL, *SIZES.values()])
    precision = np.stack([average_precision(each) for each in judged.values()])
    recall = np.stack([recalls(each, MOST) for each in judged.values()])
    figures = _of_all_sizes(judged, precision[:, 0])
    figures |= {f"ap_{name}": _mean(precision[:, i]) for i, name in enumerate(SIZES, 1)}
    figures |= {f"ar{k}": _mean(np.stack([recalls(each, k)[0] for each in judged.values()])) for k in (1, 10, MOST)}
    return figures | {f"ar_{name}": _mean(recall[:, i]) for i, name in enumerate(SIZES, 1)}


def matches(
    boxes: Float[np.ndarray, "n 4"],
    true: Float[np.ndarray, "m 4"],
    ignored: Bool[np.ndarray, "ranges m"],
    crowds: Bool[np.ndarray, " m"],
) -> Matches:
    """Returns which predicted boxes are matched to a true box.

    A box takes one that counts before an ignored one, and of those that which it overlaps most; of equal overlaps the
    last true box, as in COCO. The overlap with a crowd is the share of the predicted box that lies in it, and a crowd
    is matched any number of times.

    Args:
        boxes: predicted boxes of one class in one image, by descending score.
        true: true boxes of that class and image.
        ignored: which of these do not count, in each range of areas.
        crowds: which of these are regions of many objects.
    """
    shape = len(ignored), len(THRESHOLDS)
    found = Matches(*np.zeros((2, len(boxes), *shape), bool))
    if len(true) == 0:
        return found
    counts, free, crowds = ~ignored[:, None, ::-1], np.ones((*shape, len(true)), bool), crowds[::-1]
    overlaps = _overlaps(boxes.astype(np.float64), true[::-1].astype(np.float64), crowds)
    for number, overlap in enumerate(overlaps):
        possible = (free | crowds) & (overlap >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None])
        best = possible & counts
        right, matched = best.any(-1), possible.any(-1)
        nearest = np.where(np.where(right[..., None], best, possible), overlap, -1.0).argmax(-1)
        free[(*matched.nonzero(), nearest[matched])] = False
        found.right[number], found.ignored[number] = right, matched & ~right
    return found


def average_precision(judged: Judged) -> Float[np.ndarray, "ranges thresholds"]:
    """Returns the interpolated average precision of one class at each threshold of `THRESHOLDS`.

    Args:
        judged: its predicted boxes.

    Returns: AP in 0..1; 0.0 without predicted boxes, NaN where no true box counts.
    """
    right = judged.right.cumsum(0)
    precision = right / np.maximum(judged.counted.cumsum(0), 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or a higher one
    padded = np.pad(precision, ((0, 1), (0, 0), (0, 0)))
    result = np.full(right.shape[1:], np.nan)
    for r, true in enumerate(judged.true.tolist()):
        for t in range(len(THRESHOLDS)) if true else ():
            result[r, t] = padded[np.searchsorted(right[:, r, t] / true, RECALLS), r, t].mean()
    return result


def recalls(judged: Judged, most: int) -> Float[np.ndarray, "ranges thresholds"]:
    """Returns the share of the true boxes of one class that are matched, at each threshold of `THRESHOLDS`.

    Args:
        judged: its predicted boxes.
        most: how many of these count in an image.

    Returns: recall in 0..1; NaN where no true box counts.
    """
    right = judged.right[judged.rank < most].sum(0)
    true = judged.true[:, None]
    return np.asarray(np.where(true > 0, right / np.maximum(true, 1), np.nan))


def _judged(predicted: Sequence[Boxes], truth: Sequence[Boxes], most: int, ranges: Ranges) -> dict[int, Judged]:
    """Returns the boxes of each class of which a true box counts."""
    if len(predicted) != len(truth):
        images = counted(len(predicted), "image")
        raise UserError(f"boxes found in {images}, true ones of {len(truth)}; give one of each for an image")
    names = ("boxes", "labels")
    detected = [_checked(boxes, f"found in image {i}", (*names, "scores")) for i, boxes in enumerate(predicted)]
    annotated = [_checked(boxes, f"truth of image {i}", names) for i, boxes in enumerate(truth)]
    classes = sorted({label for image in annotated for label in image["labels"][~image["crowds"]].tolist()})
    if not classes:
        raise UserError("truth: no boxes at all; average precision needs at least one")
    return {label: _of_class(label, detected, annotated, most, ranges) for label in classes}


def _of_class(label: int, detected: Sequence[Found], annotated: Sequence[Found], most: int, ranges: Ranges) -> Judged:
    lows, highs = np.array(ranges).T[..., None]
    true_count = np.zeros(len(ranges), int)
    scores, ranks, right, counts = [], [], [], []
    for found, true in zip(detected, annotated, strict=True):
        there = true["labels"] == label
        areas, crowds = true["areas"][there], true["crowds"][there]
        ignored = crowds | (areas < lows) | (areas > highs)
        true_count += (~ignored).sum(1)
        ranking = np.flatnonzero(found["labels"] == label)
        ranking = ranking[np.argsort(-found["scores"][ranking], kind="stable")][:most]
        if not len(ranking):
            continue
        matched = matches(found["boxes"][ranking], true["boxes"][there], ignored, crowds)
        outside = ((found["areas"][ranking] < lows) | (found["areas"][ranking] > highs)).T[..., None]
        scores.append(found["scores"][ranking])
        ranks.append(np.arange(len(ranking)))
        right.append(matched.right)
        counts.append(matched.right | ~(matched.ignored | outside))
    if not scores:
        nothing = np.zeros((0, len(ranges), len(THRESHOLDS)), bool)
        return Judged(nothing, nothing, np.zeros(0, int), true_count)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    in_order = [np.concatenate(parts)[order] for parts in (right, counts, ranks)]
    return Judged(in_order[0], in_order[1], in_order[2], true_count)


def _checked(boxes: Boxes, where: str, names: tuple[str, ...]) -> Found:
    """Returns checked boxes with their areas and crowds."""
    given: Mapping[str, Any] = {name: boxes[name] for name in OPTIONAL if name in boxes}
    found = check(boxes, where, (*names, *given))
    return {
        **found,
        "areas": found.get("areas", area(found["boxes"].astype(np.float64))),
        "crowds": found.get("crowds", np.zeros(len(found["labels"]), bool)).astype(bool),
    }


def _overlaps(
    boxes: Float[np.ndarray, "n 4"], true: Float[np.ndarray, "m 4"], crowds: Bool[np.ndarray, " m"]
) -> Float[np.ndarray, "n m"]:
    both: np.ndarray = intersection_over_union(boxes.T[:, :, None], true.T[:, None])
    if not crowds.any():
        return both
    inner = np.minimum(boxes[:, None, 2:], true[None, :, 2:]) - np.maximum(boxes[:, None, :2], true[None, :, :2])
    inside = np.maximum(inner, 0.0).prod(-1) / np.maximum(area(boxes), np.finfo(np.float64).tiny)[:, None]
    return np.asarray(np.where(crowds, inside, both))


def _of_all_sizes(classes: Iterable[int], each: Float[np.ndarray, "classes thresholds"]) -> dict[str, Any]:
    ap = each.mean(0)
    return {
        "ap": float(ap.mean()),
        "ap50": float(ap[0]),
        "ap75": float(ap[5]),
        "classes": np.array(list(classes)),
        "each": each,
    }


def _mean(values: Float[np.ndarray, "classes thresholds"]) -> float:
    """Returns the mean over the classes that have a value."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
