"""Intersection over union of class maps and of their boundaries, for each image and over a set, with intervals that
resample images.

Plain numpy, on the host. Pixels of one image are not independent, so that no interval here counts pixels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int, Integer

from efficient_jax.metrics.classification import NOT_COUNTED, confusion

RESAMPLES, SEED = 1000, 0
BOUNDARY = 0.02  # width of a boundary, as a share of the diagonal of the map
PERCENTILES = (2.5, 97.5)  # of a 95% interval
BACKGROUND = "background"


class Overlaps(NamedTuple):
    """Numbers of pixels of each class in each image; sums over images are those of a set."""

    both: Int[np.ndarray, "n k"]  # that the prediction and the truth give the class
    union: Int[np.ndarray, "n k"]  # that one of them or both give it


def background(classes: Sequence[str]) -> list[bool]:
    """Returns which classes are the background: the first of two, and a class of that name.

    Args:
        classes: class names.
    """
    return [name.lower() == BACKGROUND or (i == 0 and len(classes) == 2) for i, name in enumerate(classes)]


def overlaps(answers: Integer[np.ndarray, "n h w"], labels: Integer[np.ndarray, "n h w"], classes: int) -> Overlaps:
    """Returns the pixels of each class in each image.

    Args:
        answers: predicted class index of each pixel.
        labels: true class index of each pixel. Pixels labelled 255 (`NOT_COUNTED`) are ignored.
        classes: number of classes k.
    """
    both, union = np.zeros((2, len(labels), classes), np.int64)
    for i, (answer, label) in enumerate(zip(answers, labels, strict=True)):
        counts = confusion(answer, label, classes)
        both[i] = np.diag(counts)
        union[i] = counts.sum(0) + counts.sum(1) - both[i]
    return Overlaps(both, union)


def boundary_overlaps(
    answers: Integer[np.ndarray, "n h w"], labels: Integer[np.ndarray, "n h w"], classes: int
) -> Overlaps:
    """Returns the pixels of each class in each image that are near to the boundary of their region: boundary IoU is the
    `iou` of these (arXiv 2103.16562).

    Near are the pixels of which a square around them, as far as 2% of the diagonal of the map, has another class. What
    is outside of the map, or labelled 255, is another one in both maps.

    Args:
        answers: as for `overlaps`.
        labels: as for `overlaps`.
        classes: number of classes k.
    """
    both, union = np.zeros((2, len(labels), classes), np.int64)
    width = max(1, round(BOUNDARY * np.hypot(*labels.shape[1:])))
    for i, (answer, label) in enumerate(zip(answers, labels, strict=True)):
        counted = label != NOT_COUNTED
        answer = np.where(counted, answer, NOT_COUNTED)
        near, near_truth = (_near_boundary(of, width) & counted for of in (answer, label))
        both[i] = np.bincount(label[near & near_truth & (answer == label)], minlength=classes)
        sums = np.bincount(answer[near], minlength=classes) + np.bincount(label[near_truth], minlength=classes)
        union[i] = sums - both[i]
    return Overlaps(both, union)


def _near_boundary(classes: Integer[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
    size = 2 * width + 1
    lowest, highest = (
        extremum(classes, size, mode="constant", cval=NOT_COUNTED)
        for extremum in (scipy.ndimage.minimum_filter, scipy.ndimage.maximum_filter)
    )
    return np.asarray(lowest != highest)


def iou(overlaps: Overlaps) -> Float[np.ndarray, "n k"]:
    """Returns the intersection over union of each class in each image (or drawn set), NaN where none has a pixel of it.

    Args:
        overlaps: as from the function `overlaps`.
    """
    shares: np.ndarray = np.where(overlaps.union > 0, overlaps.both / np.maximum(overlaps.union, 1), np.nan)
    return shares


def mean_iou(overlaps: Overlaps) -> Float[np.ndarray, " n"]:
    """Returns the mean of `iou` over the classes that occur, for each image (or drawn set); NaN without any.

    Args:
        overlaps: as from the function `overlaps`.
    """
    occurring = (overlaps.union > 0).sum(1)
    means: np.ndarray = np.where(occurring > 0, np.nansum(iou(overlaps), 1) / np.maximum(occurring, 1), np.nan)
    return means


def resampled(overlaps: Overlaps) -> Overlaps:
    """Returns the overlaps of 1,000 sets of images that are drawn with replacement.

    The draws depend on the number of images alone: equal predictions have equal intervals.

    Args:
        overlaps: of n images.

    Returns: sums over the images of each set, [1000 k].
    """
    images, classes = overlaps.both.shape
    pixels = np.concatenate(overlaps, 1)
    rng, uniform = np.random.default_rng(SEED), np.full(images, 1 / images)
    sums = np.stack([rng.multinomial(images, uniform) @ pixels for _ in range(RESAMPLES)])
    return Overlaps(sums[:, :classes], sums[:, classes:])


def figures(
    answers: Integer[np.ndarray, "n h w"], labels: Integer[np.ndarray, "n h w"], classes: Sequence[str]
) -> dict[str, Any]:
    """Returns the metrics of predicted class maps over all images of a set.

    Args:
        answers: predicted class index of each pixel.
        labels: true class index of each pixel. Pixels labelled 255 (`NOT_COUNTED`) are ignored.
        classes: name of each class.

    Returns: "correct" and "n", the pixels with the right class and those that have a class; and `of_overlaps`.
    """
    counted = labels != NOT_COUNTED
    pixels = {"correct": int((counted & (answers == labels)).sum()), "n": int(counted.sum())}
    return pixels | of_overlaps(overlaps(answers, labels, len(classes)), classes)


def boundary_figures(
    answers: Integer[np.ndarray, "n h w"], labels: Integer[np.ndarray, "n h w"], classes: Sequence[str]
) -> dict[str, Any]:
    """Returns `of_overlaps` of `boundary_overlaps`, with names that begin with "boundary_".

    Args:
        answers: predicted class index of each pixel.
        labels: true class index of each pixel.
        classes: name of each class.
    """
    return of_overlaps(boundary_overlaps(answers, labels, len(classes)), classes, "boundary_")


def of_overlaps(overlaps: Overlaps, classes: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """Returns the intersection over union of a set of images, each with its 95% interval.

    Args:
        overlaps: of its images.
        classes: name of each class.
        prefix: of the names of the figures.

    Returns: a dict of
        mean_iou: mean over the classes that occur, None without any
        mean_iou_interval: [low, high], percentiles of the sets of `resampled`, None without any class
        iou: {class: intersection over union}, None for a class that does not occur
        iou_interval: {class: [low, high]}, of the sets in which the class occurs, None for one that does not
    """
    whole, sets = Overlaps(*(part.sum(0, keepdims=True) for part in overlaps)), resampled(overlaps)
    shares, drawn = iou(whole)[0], iou(sets)
    return {
        f"{prefix}mean_iou": _number(mean_iou(whole)[0]),
        f"{prefix}mean_iou_interval": _interval(mean_iou(sets)),
        f"{prefix}iou": {name: _number(share) for name, share in zip(classes, shares, strict=True)},
        f"{prefix}iou_interval": {name: _interval(column) for name, column in zip(classes, drawn.T, strict=True)},
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _interval(drawn: Float[np.ndarray, " m"]) -> list[float] | None:
    known = drawn[~np.isnan(drawn)]
    return np.percentile(known, PERCENTILES).tolist() if len(known) else None
