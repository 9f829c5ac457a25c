"""Prediction sets that contain the true class with a promised probability: split conformal prediction.

The promise holds for new images that are drawn like the calibration images, whatever the network. The calibration
images must have served nothing else: no training, no choice of a checkpoint or threshold, and no selection by a model.
Plain numpy, on the host.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from efficient_jax.errors import UserError, counted

SCORES = dict.fromkeys(("threshold", "aps", "raps"))
PENALTY, FREE_RANKS = 0.01, 5  # of RAPS: section 3 of the paper has 0.01 and 5 for ImageNet


class Calibration(NamedTuple):
    """What is fitted to calibration images."""

    limits: Float[np.ndarray, " classes"]  # largest score with which each class is in the set
    score: str  # a name in `SCORES`
    images: int  # number of calibration images


def scores(probabilities: Float[np.ndarray, "n classes"], score: str) -> Float[np.ndarray, "n classes"]:
    """Returns the nonconformity score of each class: how little it fits the image.

    Args:
        probabilities: one distribution per image.
        score: "threshold", 1 - p; "aps", the summed probability of this class and all more probable ones (arXiv
            2006.02544, without randomisation, so that sets are a little larger than promised); "raps", the same plus
            0.01 for each rank beyond the fifth, which keeps sets small (arXiv 2009.14193).

    Returns: float64.
    """
    p = probabilities.astype(np.float64)
    if score == "threshold":
        return 1.0 - p
    order = np.argsort(-p, axis=1, kind="stable")
    summed = np.cumsum(np.take_along_axis(p, order, 1), axis=1)
    if score == "raps":
        summed += PENALTY * np.maximum(np.arange(1, p.shape[1] + 1) - FREE_RANKS, 0)
    result = np.empty_like(p)
    np.put_along_axis(result, order, summed, 1)
    return result


def calibrate(
    probabilities: Float[np.ndarray, "n classes"],
    labels: Int[np.ndarray, " n"],
    coverage: float,
    score: str = "threshold",
    by_class: bool = False,
) -> Calibration:
    """Fits the limits of prediction sets (arXiv 2107.07511).

    The limit is the ceil((n + 1) coverage)-th smallest score of the true classes of n calibration images.

    Args:
        probabilities: of the calibration images, one distribution for each.
        labels: true class index of each calibration image.
        coverage: probability with which a set contains the true class, in 0..1 (both excluded).
        score: a name in `SCORES`.
        by_class: fits a limit for each class that has enough images, so that the promise holds for each of these
            classes and not only on average. The others share one limit.

    Raises: UserError for a coverage out of range, or too few images for it.
    """
    if not 0.0 < coverage < 1.0:
        raise UserError(f"coverage: {coverage} is not in 0.0 .. 1.0 (both excluded)")
    true = scores(probabilities, score)[np.arange(len(labels)), labels]
    needed = math.ceil(round(coverage / (1.0 - coverage), 9))
    if len(true) < needed:
        raise UserError(
            f"coverage: {counted(len(true), 'calibration image')} cannot promise {coverage}: it needs {needed} or "
            "more, since with fewer every set has all classes"
        )
    limits = np.full(probabilities.shape[1], _limit(true, coverage))
    if by_class:
        for label in range(len(limits)):
            if (labels == label).sum() >= needed:
                limits[label] = _limit(true[labels == label], coverage)
    return Calibration(limits, score, len(labels))


def _limit(true: Float[np.ndarray, " n"], coverage: float) -> float:
    rank = math.ceil(round((len(true) + 1) * coverage, 9))  # 10 x 0.9 is 9, not 9.000000000000002
    return float(np.sort(true)[rank - 1])


def sets(probabilities: Float[np.ndarray, "m classes"], calibration: Calibration) -> Bool[np.ndarray, "m classes"]:
    """Returns which classes are in the set of each image.

    Args:
        probabilities: one distribution per image.
        calibration: as from `calibrate`.

    Returns: may be empty for an image that is unlike all calibration images, with the score "threshold".
    """
    inside: np.ndarray = scores(probabilities, calibration.score) <= calibration.limits
    return inside


def coverage_interval(images: int, coverage: float, level: float = 0.95) -> tuple[float, float]:
    """Returns in which interval the true coverage is, given one set of calibration images (arXiv 2509.15349).

    Over draws of n calibration images it has the distribution Beta(k, n + 1 - k) with k = ceil((n + 1) coverage).

    Args:
        images: number n of calibration images.
        coverage: the promised probability, in 0..1 (both excluded).
        level: probability of the interval, in 0..1.
    """
    k = math.ceil(round((images + 1) * coverage, 9))
    low, high = scipy.stats.beta(k, images + 1 - k).interval(level)
    return float(low), float(high)


def measured(
    probabilities: Float[np.ndarray, "n classes"],
    labels: Int[np.ndarray, " n"],
    coverage: float,
    score: str,
    by_class: bool = False,
    splits: int = 100,
) -> dict[str, float]:
    """Measures prediction sets: calibrated on a random half of the images, counted on the other half, many times.

    Args:
        probabilities: one distribution per image.
        labels: true class index of each image.
        coverage: the promised probability.
        score: a name in `SCORES`.
        by_class: as in `calibrate`.
        splits: number of random halves that are averaged.

    Returns: "coverage", the share of sets with the true class; "size", the mean number of classes; "empty", the share
        of empty sets; "calibration_images"; "low" and "high", the interval of the coverage for so many images.

    Raises: UserError as `calibrate`.
    """
    rng, half = np.random.default_rng(0), (len(labels) + 1) // 2
    rows = []
    for _ in range(splits):
        order = rng.permutation(len(labels))
        fitted = calibrate(probabilities[order[:half]], labels[order[:half]], coverage, score, by_class)
        others = order[half:]
        inside = sets(probabilities[others], fitted)
        rows.append(
            (inside[np.arange(len(others)), labels[others]].mean(), inside.sum(1).mean(), (~inside.any(1)).mean())
        )
    low, high = coverage_interval(half, coverage)
    covered, size, empty = np.mean(rows, axis=0)
    return {
        "coverage": float(covered),
        "size": float(size),
        "empty": float(empty),
        "calibration_images": half,
        "low": low,
        "high": high,
    }
