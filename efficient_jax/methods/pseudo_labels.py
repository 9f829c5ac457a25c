"""Pseudo-labels: a teacher's probabilities become the labels of some unlabelled images."""

import numpy as np
from jaxtyping import Bool, Float, Int

from efficient_jax.data import sampling
from efficient_jax.errors import UserError


def pseudo_labels(
    probabilities: np.ndarray,
    seed: int,
    *,
    threshold: float = 0.3,
    balance: bool = True,
    per_class: int = 0,
    soft: bool = True,
    shuffled: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(labels float32 [n classes], copies int32 [n]) from a teacher's probabilities [n classes].

    An image is kept (copies > 0) when its highest probability reaches `threshold`. With `balance`, every class
    gets `per_class` copies (0: the mean number kept): of the thresholds 0.01 apart from `threshold` on, the highest
    that still leaves `per_class` images, then each of these per_class / count times, the fraction by a coin, as in
    the paper's code. Soft labels are the probabilities, others one-hot. `shuffled` deals the kept labels out at
    random: the negative control, in which all but what the teacher knows of an image stays the same.

    Raises: UserError when nothing is kept.
    """
    if not 0.0 <= threshold < 1.0:
        raise UserError(f"pseudo_labels.threshold: {threshold} is not in 0.0 .. 1.0 (1.0 excluded)")
    if per_class < 0:
        raise UserError(f"pseudo_labels.per_class: {per_class} is negative; 0 takes the mean number kept")
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    rng = np.random.default_rng(seed)
    copies = (confidence >= threshold).astype(np.int32)
    if not copies.any():
        raise UserError(f"pseudo_labels.threshold: no image reaches {threshold}; {suggestion(confidence)}")
    classes = probabilities.shape[1]
    if balance:
        target = per_class or max(1, round(copies.sum() / classes))
        coins = rng.random(len(copies))
        for number in range(classes):
            members = predicted == number
            levels = np.append(threshold, np.arange(np.floor(threshold * 100) + 1, 100) / 100).astype(confidence.dtype)
            counts = np.array([(members & (confidence >= level)).sum() for level in levels])
            enough = np.flatnonzero(counts >= target)
            chosen = enough[-1] if len(enough) else 0
            rate = target / max(counts[chosen], 1)
            drawn = sampling.copies(np.full(len(coins), rate), coins)
            copies[members] = np.where(confidence >= levels[chosen], drawn, 0)[members]
        for number in set(predicted[confidence >= threshold]) - set(predicted[copies > 0]):
            # Coins that all fell wrong leave a rare class its surest image.
            copies[np.where(predicted == number, confidence, -1.0).argmax()] = 1
    labels = probabilities if soft else np.eye(classes)[predicted]
    if shuffled:
        kept = np.flatnonzero(copies)
        labels = labels.copy()
        dealt = rng.permutation(kept)
        labels[kept], copies[kept] = labels[dealt], copies[dealt]  # with its copies: the balance stays too
    return labels.astype(np.float32), copies


def suggestion(confidence: Float[np.ndarray, " n"]) -> str:
    """What to say where a threshold keeps nothing; rounded down, so that the half is kept."""
    half = np.floor(100 * np.median(confidence)) / 100
    return f"the highest confidence is {confidence.max():.3f}; {half:.2f} would keep at least half of the images"


def certain(probabilities: Float[np.ndarray, "n classes"], threshold: float) -> Bool[np.ndarray, "n classes"]:
    """Where the teacher is sure of a label: p >= threshold, or 1 - p >= threshold."""
    return np.maximum(probabilities, 1 - probabilities) >= np.float32(threshold)


def multi_label_pseudo_labels(
    probabilities: Float[np.ndarray, "n classes"], seed: int, *, threshold: float = 0.9, soft: bool = False
) -> tuple[Float[np.ndarray, "n classes"], Int[np.ndarray, " n"]]:
    """(labels float32 [n classes], copies int32 [n], 0 or 1) from a teacher's probabilities of independent labels.

    A label of which the teacher is certain becomes 0 or 1, with `soft` it stays the probability. An uncertain one
    stays the probability in any case: rounded it would often be wrong, and left out it would need a mask for each
    label, while as a target it pulls the student no further than to the teacher's own doubt. An image is kept when the
    teacher is certain of at least one label. To ask for all would keep few images where there are many labels, and
    those without any of them; an image with none certain would teach doubts only.

    Raises: UserError when nothing is kept.
    """
    del seed
    if not 0.5 < threshold < 1.0:
        raise UserError(f"pseudo_labels.threshold: {threshold} is not between 0.5 and 1.0: below it yes is no as well")
    sure = certain(probabilities, threshold)
    if not sure.any():
        confidence = np.maximum(probabilities, 1 - probabilities).max(1)
        raise UserError(f"pseudo_labels.threshold: no label of any image reaches {threshold}; {suggestion(confidence)}")
    labels = probabilities if soft else np.where(sure, probabilities >= 0.5, probabilities)
    return labels.astype(np.float32), np.any(sure, axis=1).astype(np.int32)
