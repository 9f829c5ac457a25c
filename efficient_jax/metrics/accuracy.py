"""What predictions are worth, and what a measured number is: intervals, likelihood, several labels an image.
Plain numpy, on the host."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score

Probabilities = Float[np.ndarray, "n classes"]
Labels = Int[np.ndarray, "n classes"]
FARTHEST = 1.0 - 1e-6  # from 0, of correlations that are averaged


def wilson(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion: `correct` of `n`, n > 0 (Wilson 1927).

    Unlike mean +- z sd it stays within 0..1 and does not collapse to a point at 0 or n correct.
    """
    z = stats.norm.ppf((1.0 + level) / 2.0)
    p = correct / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1.0 - p) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1.0 + z**2 / n), (centre + half) / (1.0 + z**2 / n)
    return max(float(low), 0.0), min(float(high), 1.0)  # rounding may leave 0..1 by an ulp


def paired_difference(
    a: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"], level: float = 0.95
) -> tuple[float, float, float]:
    """Mean of a - b and its Student-t interval (mean, low, high).

    For two methods run on the same seeds, so that what the seeds do to both cancels; n >= 2.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    n = len(difference)
    if n < 2:
        raise ValueError(f"an interval needs at least 2 pairs, not {n}")
    mean = difference.mean()
    half = stats.t.ppf((1.0 + level) / 2.0, n - 1) * difference.std(ddof=1) / np.sqrt(n)
    return float(mean), float(mean - half), float(mean + half)


def mean_correlation(correlations: Float[np.ndarray, "n"], level: float = 0.95) -> tuple[float, float, float]:
    """Returns the mean of n correlations and its interval (mean, low, high), all within -1..1, by Fisher's z.

    Student's t of z = artanh(r) (Fisher 1921), turned back into correlations. For 1 - r^2 below 2e-6 that of 1e-6
    from 1 is taken, where z is infinite. The interval is NaN below n = 2, the mean too at n = 0.
    """
    z = np.arctanh(np.clip(np.asarray(correlations, np.float64), -FARTHEST, FARTHEST))
    if len(z) < 2:
        return (float(np.tanh(z[0])) if len(z) else np.nan), np.nan, np.nan
    mean, low, high = np.tanh(paired_difference(z, np.zeros(len(z)), level)).tolist()
    return mean, low, high


def holm(p: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """p-values of n tests, corrected (Holm 1979): with those up to a level taken, the chance of any false alarm is at
    most this level."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return corrected


class Agreement(NamedTuple):
    """How well validation accuracies tell test accuracies, over models."""

    models: int
    pearson: float
    low: float  # 95% of bootstraps over the models
    high: float
    spearman: float
    slope: float  # points of test accuracy for one of validation accuracy
    ceiling: float  # what `pearson` comes to, on average, where only the finite sets of images keep it from 1


def agreement(
    validation: Float[np.ndarray, "m"], test: Float[np.ndarray, "m"], n_validation: int, n_test: int
) -> Agreement | None:
    """Of accuracies (0..1) of models on `n_validation` and `n_test` images; None below 3 models, or where all are
    equal.

    The true variance between models is taken to be what is left of the variance on the larger set without that of
    drawing its images; 0, and a ceiling of 0, where nothing is left. That is reckoned as if each model had images of
    its own; those of the same images differ by less, so the ceiling is rather too low.
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
        pearson=float(stats.pearsonr(*both).statistic),
        low=float(low),
        high=float(high),
        spearman=float(stats.spearmanr(*both).statistic),
        slope=float(stats.linregress(*both).slope),
        ceiling=noise_ceiling(variance, float(larger.mean()), n_validation, n_test),
    )


def noise_ceiling(variance: float, accuracy: float, n_validation: int, n_test: int) -> float:
    """The correlation to expect between accuracies on two finite sets, of models whose true accuracies, around
    `accuracy`, have this `variance`: sqrt of the product of both reliabilities."""
    noise = accuracy * (1 - accuracy)
    return float(
        np.prod([variance / (variance + noise / n) if variance else 0.0 for n in (n_validation, n_test)]) ** 0.5
    )


def negative_log_likelihood(probabilities: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, "n"]) -> float:
    """Mean of -log p(label), in nats; a zero counts as the smallest positive float32."""
    p = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(p, np.finfo(np.float32).tiny), dtype=np.float64).mean())


def mean_average_precision(probabilities: Probabilities, labels: Labels) -> float:
    """Average precision, scikit-learn's, of each label that occurs (at least one does), and their mean; labels 0/1."""
    occur = np.flatnonzero(labels.any(0))
    return float(np.mean([average_precision_score(labels[:, k], probabilities[:, k]) for k in occur]))


def label_losses(probabilities: Probabilities, labels: Labels) -> Float[np.ndarray, "n"]:
    """Mean over the labels of -log p(what is the case), in nats; a zero counts as the smallest positive float32."""
    p = np.where(labels, probabilities, 1.0 - probabilities)
    return -np.log(np.maximum(p, np.finfo(np.float32).tiny), dtype=np.float64).mean(1)


def thresholds(probabilities: Probabilities, labels: Labels) -> Float[np.ndarray, "classes"]:
    """For each label the threshold with the highest F1 of `probability >= threshold`; 0.5 for one that never occurs.

    Candidates lie half-way between neighbouring probabilities; of equal ones that nearest to 0.5, itself a candidate.
    """
    found = np.full(labels.shape[1], 0.5)
    for k in np.flatnonzero(labels.any(0)):
        scores = np.sort(probabilities[:, k].astype(np.float64))
        positive = np.sort(probabilities[labels[:, k] > 0, k].astype(np.float64))
        levels = np.unique(np.append(scores, 0.0))
        candidates = np.concatenate([[0.5, 0.0], (levels[1:] + levels[:-1]) / 2])
        hits = len(positive) - np.searchsorted(positive, candidates)
        predicted = len(scores) - np.searchsorted(scores, candidates)
        f1 = 2 * hits / (predicted + len(positive))
        best = candidates[f1 == f1.max()]
        found[k] = best[np.abs(best - 0.5).argmin()]
    return found


def several_labels(probabilities: Probabilities, labels: Labels, thresholds: Float[np.ndarray, "classes"]) -> dict:
    """How good predictions of independent labels 0/1 are, at least one of which occurs.

    correct, n              images whose labels are all right at the thresholds, and how many images there are
    mean_average_precision  needs no thresholds
    micro_f1, macro_f1      at the thresholds: of all decisions together; the mean over the labels that occur
    """
    predicted = (probabilities >= thresholds).astype(int)
    return {
        "correct": int((predicted == labels).all(1).sum()),
        "n": len(labels),
        "mean_average_precision": mean_average_precision(probabilities, labels),
        "micro_f1": float(f1_score(labels, predicted, average="micro")),
        "macro_f1": float(f1_score(labels, predicted, average="macro", labels=np.flatnonzero(labels.any(0)))),
    }
