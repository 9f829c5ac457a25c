"""Whether probabilities mean what they say, and how to mend those that do not. Plain numpy, on the host."""

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

Probabilities = Float[np.ndarray, "n classes"]
TINY = float(np.finfo(np.float32).tiny)


def expected_calibration_error(probabilities: Probabilities, labels: Int[np.ndarray, "n"], bins: int = 15) -> float:
    """Mean |accuracy - confidence| over equal bins of confidence (low, high], weighted by their examples
    (arXiv 1706.04599). Biased upward: see `floor`."""
    confidence = probabilities.max(axis=1)
    return _gap(confidence, probabilities.argmax(axis=1) == labels, bins)


def floor(probabilities: Probabilities, bins: int = 15, draws: int = 100, seed: int = 0) -> float:
    """The expected calibration error that a perfectly calibrated model with these confidences would be given: the mean
    of `draws` in which each answer is right with its own probability. About 0.09 for 200 examples of all confidences.
    """
    confidence = probabilities.max(axis=1)
    coins = np.random.default_rng(seed).random((draws, len(confidence)))
    return float(np.mean([_gap(confidence, row < confidence, bins) for row in coins]))


def _gap(confidence: Float[np.ndarray, "n"], right: np.ndarray, bins: int) -> float:
    index = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1).astype(int)
    gaps = np.bincount(index, weights=right - confidence, minlength=bins)  # of sums: n_b (acc - conf)
    return float(np.abs(gaps).sum() / len(right))


def temperature(probabilities: Probabilities, labels: Int[np.ndarray, "n"]) -> float:
    """What to divide logits by, in 0.05 .. 20, so that the labels are most likely. Labels of validation images: on the
    images that it is fitted to the likelihood cannot fall, and it says nothing."""

    def loss(log_t: float) -> float:
        p = tempered(probabilities, float(np.exp(log_t)))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(p, TINY)).mean())

    found = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def tempered(probabilities: Probabilities, temperature: float) -> Probabilities:
    """softmax(logits / temperature): the answers stay, their confidence does not."""
    scaled = np.log(np.maximum(probabilities.astype(np.float64), TINY)) / temperature
    scaled -= scaled.max(1, keepdims=True)
    return np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
