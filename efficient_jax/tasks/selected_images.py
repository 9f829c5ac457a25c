"""Which images of a pool become pseudo-labels, by the confidence and the class of a teacher's predictions alone."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.data import sampling
from efficient_jax.errors import UserError

CHUNK = 2**16  # images that are selected at a time


class Selection(NamedTuple):
    """Which images of a pool become pseudo-labels, of which labels."""

    copies: Int[np.ndarray, " n"]  # int32, of each image; 0: it is not kept
    kept: Int[np.ndarray, " m"]  # images with copies, by their place in the pool
    sources: Int[np.ndarray, " m"]  # images whose labels these get; others where labels are permuted
    soft: bool  # whether labels are probabilities, and not the predicted class alone


def selected(
    confidence: Float[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    classes: int,
    seed: int,
    *,
    threshold: float,
    balance: bool,
    per_class: int,
    soft: bool,
    shuffled: bool,
) -> Selection:
    """Returns which images become pseudo-labels: `pseudo_labels` without the probabilities, in some bytes an image.

    Args:
        confidence: highest probability of each image.
        predicted: class that has it; of equal ones the first.
        classes: number of classes.
        seed: as for `pseudo_labels`, and so are the other settings.
        threshold: probability from which on an image is kept.
        balance: whether all classes get equally many copies.
        per_class: copies of each class.
        soft: whether targets are probabilities.
        shuffled: whether the kept labels are permuted.

    Raises: UserError as `pseudo_labels`.
    """
    if not 0.0 <= threshold < 1.0:
        raise UserError(f"pseudo_labels.threshold: {threshold} is not in 0.0 .. 1.0 (1.0 excluded)")
    if per_class < 0:
        raise UserError(f"pseudo_labels.per_class: {per_class} is negative; 0 takes the mean number kept")
    rng = np.random.default_rng(seed)
    copies = (confidence >= threshold).astype(np.int32)
    if not copies.any():
        raise UserError(f"pseudo_labels.threshold: no image reaches {threshold}; {suggestion(confidence)}")
    if balance:
        wanted = per_class or max(1, round(copies.sum() / classes))
        _balance(copies, confidence, predicted, classes, threshold, wanted, rng)
    kept = np.flatnonzero(copies)
    sources = rng.permutation(kept) if shuffled else kept
    copies[kept] = copies[sources]  # with their labels: classes stay balanced
    return Selection(copies, kept, sources, soft)


def _balance(
    copies: Int[np.ndarray, " n"],
    confidence: Float[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    classes: int,
    threshold: float,
    wanted: int,
    rng: np.random.Generator,
) -> None:
    """Replaces the 1 of each image in `copies` by how often it is repeated, so that each class is there `wanted` times.

    The images of a class above each level are counted once; drawn in parts, the coins are the same.
    """
    levels = np.append(threshold, np.arange(np.floor(threshold * 100) + 1, 100) / 100).astype(confidence.dtype)
    parts = [slice(start, start + CHUNK) for start in range(0, len(copies), CHUNK)]
    reached = np.zeros((classes, len(levels)), np.int64)
    for part in parts:
        kept = copies[part] > 0
        level = np.searchsorted(levels, confidence[part][kept], side="right") - 1
        cell = predicted[part][kept] * np.int64(len(levels)) + level
        reached += np.bincount(cell, minlength=reached.size).reshape(reached.shape)
    reached = reached[:, ::-1].cumsum(1)[:, ::-1]
    there = reached[:, 0] > 0
    chosen = np.maximum((reached >= wanted).sum(1) - 1, 0)
    rates = wanted / np.maximum(reached[np.arange(classes), chosen], 1)
    for part in parts:
        drawn = sampling.copies(rates[predicted[part]], rng.random(len(copies[part])))
        above = (copies[part] > 0) & (confidence[part] >= levels[chosen[predicted[part]]])
        copies[part] = np.where(above, drawn, 0)
    there[predicted[copies > 0]] = False
    # A rare class may have drawn no copy at all: it keeps its most confident image.
    rows = np.flatnonzero(there[predicted] & (confidence >= threshold))
    rows = rows[np.lexsort((-confidence[rows], predicted[rows]))]
    copies[rows[np.unique(predicted[rows], return_index=True)[1]]] = 1


def suggestion(confidence: Float[np.ndarray, " n"]) -> str:
    """Returns the end of a message on a threshold that keeps no image: one that keeps at least half of them.

    Args:
        confidence: highest probability of each image.
    """
    half = np.floor(100 * np.median(confidence)) / 100  # rounded down, so that at least half is kept
    return f"the highest confidence is {confidence.max():.3f}; {half:.2f} would keep at least half of the images"
