"""Calibration of class probabilities: how large its error is, and temperature scaling to reduce it.

Plain numpy, on the host.
"""

import numpy as np
import scipy
from jaxtyping import Float, Int

Probabilities = Float[np.ndarray, "n classes"]
TINY = float(np.finfo(np.float32).tiny)


def expected_calibration_error(probabilities: Probabilities, labels: Int[np.ndarray, " n"], bins: int = 15) -> float:
    """Returns the mean |accuracy - confidence| over bins of confidence (arXiv 1706.04599). Biased upward: see `floor`.

    Args:
        probabilities: one distribution per image.
        labels: true class index of each image.
        bins: number of bins (low, high] of equal width, weighted by their numbers of images.

    Returns: an error in 0..1.
    """
    confidence = probabilities.max(axis=1)
    return _gap(confidence, probabilities.argmax(axis=1) == labels, bins)


def floor(probabilities: Probabilities, bins: int = 15, draws: int = 100, seed: int = 0) -> float:
    """Returns the expected calibration error that is measured for a perfectly calibrated model of these confidences.

    The error is biased upward for few images: about 0.09 for 200 images whose confidences are spread over 0..1.

    Args:
        probabilities: one distribution per image.
        bins: as in `expected_calibration_error`.
        draws: simulations to average; in each, a prediction is right with its own probability.
        seed: seed of the simulations.

    Returns: an error in 0..1.
    """
    confidence = probabilities.max(axis=1)
    coins = np.random.default_rng(seed).random((draws, len(confidence)))
    return float(np.mean([_gap(confidence, row < confidence, bins) for row in coins]))


def _gap(confidence: Float[np.ndarray, " n"], right: np.ndarray, bins: int) -> float:
    index = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1).astype(int)
    gaps = np.bincount(index, weights=right - confidence, minlength=bins)  # n_b (accuracy_b - confidence_b)
    return float(np.abs(gaps).sum() / len(right))


def temperature(probabilities: Probabilities, labels: Int[np.ndarray, " n"]) -> float:
    """Returns the temperature that maximises the likelihood of the labels (arXiv 1706.04599).

    Fit it on validation images and measure its effect on others: the likelihood of the images that it is fitted to
    never gets worse.

    Args:
        probabilities: one distribution per image, at temperature 1.
        labels: true class index of each image.

    Returns: the divisor of the logits, in 0.05..20; 1.0 if no other is better.
    """

    def loss(log_t: float) -> float:
        p = tempered(probabilities, float(np.exp(log_t)))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(p, TINY)).mean())

    optimum = scipy.optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(optimum.x)) if optimum.fun < loss(0.0) else 1.0


def tempered(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Returns softmax(logits / temperature): the predicted classes stay, their confidence changes.

    Args:
        probabilities: one distribution per image, at temperature 1.
        temperature: divisor of the logits, above 0; above 1 it lowers the confidence.

    Returns: float64 distributions of the same shape.
    """
    scaled = np.log(np.maximum(probabilities.astype(np.float64), TINY)) / temperature
    scaled -= scaled.max(1, keepdims=True)
    calibrated: np.ndarray = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    return calibrated
