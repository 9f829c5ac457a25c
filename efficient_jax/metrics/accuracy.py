"""Intervals and tests of measured figures, the likelihood of labels, and metrics of multi-label predictions.

Plain numpy, on the host.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float, Int, Shaped

Probabilities = Float[np.ndarray, "n classes"]
Labels = Shaped[np.ndarray, "n classes"]  # 0 or 1, of any dtype
FARTHEST = 1.0 - 1e-6  # largest |correlation| that is averaged: Fisher's z of 1 is infinite


def wilson(correct: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Returns Wilson's score interval for a proportion (Wilson 1927).

    Unlike mean +- z sd it stays within 0..1 and does not collapse to a point at 0 or n correct.

    Args:
        correct: number of successes, 0..n.
        n: number of trials, at least 1.
        level: coverage of the interval, in 0..1.

    Returns: (low, high), both in 0..1.
    """
    z = NormalDist().inv_cdf((1.0 + level) / 2.0)
    p = correct / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1.0 - p) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1.0 + z**2 / n), (centre + half) / (1.0 + z**2 / n)
    return max(float(low), 0.0), min(float(high), 1.0)  # rounding may leave 0..1 by an ulp


def paired_difference(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], level: float = 0.95
) -> tuple[float, float, float]:
    """Returns the mean of a - b with its Student-t interval.

    For two methods run on the same seeds, so that the effect that a seed has on both cancels.

    Args:
        a: figures of the first method, one for each of n >= 2 seeds.
        b: figures of the second method, for the same seeds in the same order.
        level: coverage of the interval, in 0..1.

    Returns: (mean, low, high), in the unit of the figures.

    Raises: ValueError for fewer than 2 pairs.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    n = len(difference)
    if n < 2:
        raise ValueError(f"an interval needs at least 2 pairs, not {n}")
    mean = difference.mean()
    half = scipy.stats.t.ppf((1.0 + level) / 2.0, n - 1) * difference.std(ddof=1) / np.sqrt(n)
    return float(mean), float(mean - half), float(mean + half)


def mean_correlation(correlations: Float[np.ndarray, " n"], level: float = 0.95) -> tuple[float, float, float]:
    """Returns the mean of n correlations with its interval, by Fisher's z.

    Student's t interval of z = artanh(r) (Fisher 1921), transformed back to correlations. Correlations are clipped
    to +-(1 - 1e-6), since z is infinite at 1.

    Args:
        correlations: each in -1..1.
        level: coverage of the interval, in 0..1.

    Returns: (mean, low, high), all in -1..1. The interval is NaN for n < 2, the mean too for n = 0.
    """
    z = np.arctanh(np.clip(np.asarray(correlations, np.float64), -FARTHEST, FARTHEST))
    if len(z) < 2:
        return (float(np.tanh(z[0])) if len(z) else np.nan), np.nan, np.nan
    mean, low, high = np.tanh(paired_difference(z, np.zeros(len(z)), level)).tolist()
    return mean, low, high


def holm(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Returns p-values corrected for n tests (Holm 1979).

    If every test whose corrected p-value is at most alpha is called significant, the probability of one or more false
    positives is at most alpha.

    Args:
        p: uncorrected p-values in 0..1, in any order.

    Returns: the corrected p-values in the order of `p`, at most 1.0.
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return corrected


class Agreement(NamedTuple):
    """How well validation accuracy predicts test accuracy over a set of models."""

    models: int  # number of models
    pearson: float  # correlation coefficient, -1..1
    low: float  # 95% interval of `pearson` from bootstraps over the models
    high: float
    spearman: float  # rank correlation, -1..1
    slope: float  # percentage points of test accuracy for one of validation accuracy, by least squares
    ceiling: float  # expected `pearson` if only the finite numbers of images keep it below 1


def agreement(
    validation: Float[np.ndarray, " m"], test: Float[np.ndarray, " m"], n_validation: int, n_test: int
) -> Agreement | None:
    """Returns the correlation between the validation and test accuracies of m models, with its noise ceiling.

    The true variance between models is estimated as the variance on the larger set minus its sampling variance, and
    is at least 0. The sampling variance is that of independent images for each model. Models share their images and
    differ by less, so the ceiling is an underestimate.

    Args:
        validation: accuracy of each model on the validation set, in 0..1.
        test: accuracy of each model on the test set, in 0..1.
        n_validation: images in the validation set.
        n_test: images in the test set.

    Returns: the figures, or None for fewer than 3 models or if all accuracies on one set are equal.
    """
    both = np.stack([validation, test]).astype(np.float64)
    if both.shape[1] < 3 or not both.std(1).all():
        return None
    larger, n = (both[1], n_test) if n_test >= n_validation else (both[0], n_validation)
    variance = max(larger.var(ddof=1) - (larger * (1 - larger)).mean() / n, 0.0)
    drawn = both[:, np.random.default_rng(0).integers(0, both.shape[1], (2000, both.shape[1]))]  # 2 2000 m
    centred = drawn - drawn.mean(-1, keepdims=True)
    spread = np.sqrt(np.square(centred).sum(-1).prod(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = centred.prod(0).sum(-1) / spread
    low, high = np.nanpercentile(np.where(spread > 1e-12, correlations, np.nan), [2.5, 97.5])
    return Agreement(
        models=both.shape[1],
        pearson=float(scipy.stats.pearsonr(*both).statistic),
        low=float(low),
        high=float(high),
        spearman=float(scipy.stats.spearmanr(*both).statistic),
        slope=float(scipy.stats.linregress(*both).slope),
        ceiling=noise_ceiling(variance, float(larger.mean()), n_validation, n_test),
    )


def noise_ceiling(variance: float, accuracy: float, n_validation: int, n_test: int) -> float:
    """Returns the expected correlation between accuracies that are measured on two finite sets of images.

    It is the square root of the product of the reliabilities var / (var + p (1 - p) / n) of both sets.

    Args:
        variance: variance of the true accuracies between models.
        accuracy: mean accuracy p of the models, in 0..1.
        n_validation: images in the validation set.
        n_test: images in the test set.

    Returns: a correlation in 0..1; 0.0 for a variance of 0.
    """
    noise = accuracy * (1 - accuracy)
    return float(
        np.prod([variance / (variance + noise / n) if variance else 0.0 for n in (n_validation, n_test)]) ** 0.5
    )


def negative_log_likelihood(probabilities: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> float:
    """Returns the mean of -log p(label), in nats.

    Args:
        probabilities: one distribution per image. Values below the smallest normal float32 count as that value.
        labels: class index of each image.

    Returns: 0.0 or more.
    """
    p = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(p, np.finfo(np.float32).tiny), dtype=np.float64).mean())


def mean_average_precision(probabilities: Probabilities, labels: Labels) -> float:
    """Returns the mean over classes of the average precision (scikit-learn's), of classes that occur.

    Args:
        probabilities: independent probability of each class, in 0..1.
        labels: 1 where an image has the class, else 0. One class or more occurs.

    Returns: a mean in 0..1.
    """
    from sklearn.metrics import average_precision_score  # takes 0.5 s, so only where it is needed

    occur = np.flatnonzero(labels.any(0))
    return float(np.mean([average_precision_score(labels[:, k], probabilities[:, k]) for k in occur]))


def label_losses(probabilities: Probabilities, labels: Labels) -> Float[np.ndarray, " n"]:
    """Returns the mean binary cross entropy over classes of each image, in nats.

    Args:
        probabilities: independent probability of each class, in 0..1. The probability of the true outcome counts as
            the smallest normal float32 or more.
        labels: 1 where an image has the class, else 0.

    Returns: one loss per image.
    """
    p = np.where(labels, probabilities, 1.0 - probabilities)
    losses: np.ndarray = -np.log(np.maximum(p, np.finfo(np.float32).tiny), dtype=np.float64).mean(1)
    return losses


def thresholds(probabilities: Probabilities, labels: Labels) -> Float[np.ndarray, " classes"]:
    """Returns for each class the threshold with the highest F1 of `probability >= threshold`.

    Candidates are 0.5 and the midpoints between neighbouring probabilities. Among those with equal F1 the one nearest
    to 0.5 is chosen.

    Args:
        probabilities: independent probability of each class, in 0..1.
        labels: 1 where an image has the class, else 0.

    Returns: one threshold per class; 0.5 for a class that never occurs.
    """
    best_thresholds = np.full(labels.shape[1], 0.5)
    for k in np.flatnonzero(labels.any(0)):
        scores = np.sort(probabilities[:, k].astype(np.float64))
        positive = np.sort(probabilities[labels[:, k] > 0, k].astype(np.float64))
        levels = np.unique(np.append(scores, 0.0))
        candidates = np.concatenate([[0.5, 0.0], (levels[1:] + levels[:-1]) / 2])
        hits = len(positive) - np.searchsorted(positive, candidates)
        predicted = len(scores) - np.searchsorted(scores, candidates)
        f1 = 2 * hits / (predicted + len(positive))
        best = candidates[f1 == f1.max()]
        best_thresholds[k] = best[np.abs(best - 0.5).argmin()]
    return best_thresholds


def several_labels(probabilities: Probabilities, labels: Labels, answers: Labels) -> dict[str, float]:
    """Returns the metrics of multi-label predictions.

    Args:
        probabilities: independent probability of each class, in 0..1.
        labels: 1 where an image has the class, else 0. One class or more occurs.
        answers: 1 where a class is predicted, its probability having reached its threshold, else 0.

    Returns: a dict of
        correct, n: images with all labels right, and images in total
        mean_average_precision: as the function of this name; independent of the answers
        micro_f1: F1 of all answers together
        macro_f1: mean of F1 over the classes that occur
    """
    from sklearn.metrics import f1_score  # takes 0.5 s, so only where it is needed

    return {
        "correct": int((answers == labels).all(1).sum()),
        "n": len(labels),
        "mean_average_precision": mean_average_precision(probabilities, labels),
        "micro_f1": float(f1_score(labels, answers, average="micro")),
        "macro_f1": float(f1_score(labels, answers, average="macro", labels=np.flatnonzero(labels.any(0)))),
    }
