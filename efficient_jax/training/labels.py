"""Labels of a dataset on host and devices: class indices, never a dense array of images by classes.

ImageNet's 1,281,167 labels of 1,000 classes take 5.1 MB as ids and 5.1 GB as vectors. A dense vector exists only inside
the step, for the examples of one batch.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

FEW = 100  # classes up to which a soft label keeps all probabilities
KEPT = 10  # most probable classes that it keeps of more
CHUNK = 2**16  # images whose labels are converted at a time
TOP_CHUNK = 2**12  # images whose classes are ordered at a time


class Labels(NamedTuple):
    """Labels of n images, in one of three forms.

    hard             ids alone: an image has each of its classes with probability 1.0
    soft, few classes   probabilities alone, float32 [n classes]
    soft, many classes  ids, and the probability of each
    """

    ids: Int[Array, "n k"] | Int[np.ndarray, "n k"] | None  # int32; the number of classes stands for no class
    probabilities: Float[Array, "n k"] | Float[np.ndarray, "n k"] | None


def hard(
    members: Callable[[Int[np.ndarray, " m"]], Bool[np.ndarray, "m classes"]], rows: Int[np.ndarray, " n"], classes: int
) -> Labels:
    """Returns labels by what classes images have.

    Args:
        members: returns which classes some images have; called with up to 65,536 of them.
        rows: indices of n images.
        classes: number of classes.
    """
    parts = []
    for start in range(0, len(rows), CHUNK):
        has = members(rows[start : start + CHUNK])
        width = max(1, int(has.sum(1).max(initial=0)))
        # With one class each: a sort of every row takes 28 times as long (65,536 images, 1,000 classes).
        order = has.argmax(1)[:, None] if width == 1 else np.argsort(~has, axis=1, kind="stable")[:, :width]
        parts.append(np.where(np.take_along_axis(has, order, 1), order, classes).astype(np.int32))
    return Labels(_stacked(parts, classes), None)


def soft(targets: Float[np.ndarray, "n classes"], kept: int = 0, *, exclusive: bool = True) -> Labels:
    """Returns labels by their probabilities.

    Args:
        targets: probability of each class.
        kept: classes of which each image keeps the probability, the most probable ones; 0: all of up to 100 classes,
            otherwise 10.
        exclusive: probabilities sum to 1; those that are kept are divided by their sum (arXiv 2112.01528, section 3).
    """
    classes = targets.shape[1]
    kept = width(classes, kept)
    if kept == classes:
        return Labels(None, targets.astype(np.float32))
    return most_probable(*top(targets, kept), classes, exclusive=exclusive)


def width(classes: int, kept: int) -> int:
    """Returns how many probabilities a soft label has.

    Args:
        classes: number of classes.
        kept: as for `soft`.
    """
    return min(kept or (classes if classes <= FEW else KEPT), classes)


def top(
    targets: Float[np.ndarray, "n classes"], kept: int
) -> tuple[Int[np.ndarray, "n kept"], Float[np.ndarray, "n kept"]]:
    """Returns (the most probable classes of each image, int32; their probabilities, float32), the highest first, of
    equal ones the first class.

    They are ordered by integers: the bits of a float of 0.0 or more, then the class. A stable sort of the floats takes
    ten times as long (20,000 images, 1,000 classes).

    Args:
        targets: probability of each class.
        kept: number of these classes.
    """
    last, parts = np.uint64(2**32 - 1), []
    for start in range(0, max(len(targets), 1), TOP_CHUNK):
        bits = (targets[start : start + TOP_CHUNK].astype(np.float32) + np.float32(0.0)).view(np.uint32)  # no -0.0
        keys = (bits.astype(np.uint64) << np.uint64(32)) | (last - np.arange(bits.shape[1], dtype=np.uint64))
        keys.partition(bits.shape[1] - kept, axis=1)
        parts.append(np.sort(keys[:, bits.shape[1] - kept :], axis=1)[:, ::-1])
    best = np.concatenate(parts)
    return (last - (best & last)).astype(np.int32), (best >> np.uint64(32)).astype(np.uint32).view(np.float32)


def most_probable(
    ids: Int[np.ndarray, "n k"], probabilities: Float[np.ndarray, "n k"], classes: int, *, exclusive: bool = True
) -> Labels:
    """Returns soft labels by the most probable classes of each image, see `soft`.

    Args:
        ids: these classes, in any order; all classes, or fewer.
        probabilities: of each.
        classes: number of classes.
        exclusive: as for `soft`.
    """
    if ids.shape[1] == classes:
        return Labels(None, on_host(Labels(ids, probabilities), classes))
    if exclusive:
        probabilities = probabilities / np.maximum(probabilities.sum(1, keepdims=True), np.finfo(np.float32).tiny)
    return Labels(ids, probabilities.astype(np.float32))


def weighted(labels: Labels, weights: Float[np.ndarray, " n"]) -> Labels:
    """Returns labels whose probabilities sum to the weight of their image: its loss counts that many times.

    Args:
        labels: of n images.
        weights: of the same images, 0.0 or more.
    """
    columns = weights.astype(np.float32)[:, None]
    if labels.probabilities is not None:
        return Labels(labels.ids, np.asarray(labels.probabilities) * columns)
    assert labels.ids is not None
    return Labels(labels.ids, np.broadcast_to(columns, labels.ids.shape))


def table(images: int, classes: int, parts: Sequence[tuple[Int[np.ndarray, " m"], Labels]]) -> Labels:
    """Returns the labels of all images of a dataset, in one form.

    Args:
        images: number of images.
        classes: number of classes.
        parts: (indices of images, their labels); images in none of them have no label.
    """
    if any(labels.ids is None for _, labels in parts):
        dense_table = np.zeros((images, classes), np.float32)
        for rows, labels in parts:
            dense_table[rows] = on_host(labels, classes)
        return Labels(None, dense_table)
    width = max((labels.ids.shape[1] for _, labels in parts if labels.ids is not None), default=1)
    ids = np.full((images, width), classes, np.int32)
    probabilities = np.zeros((images, width), np.float32)
    for rows, labels in parts:
        assert labels.ids is not None
        own = labels.ids.shape[1]
        ids[rows, :own], ids[rows, own:] = labels.ids, classes
        known = (labels.ids < classes).astype(np.float32) if labels.probabilities is None else labels.probabilities
        probabilities[rows, :own], probabilities[rows, own:] = known, 0.0
    return Labels(ids, None if all(labels.probabilities is None for _, labels in parts) else probabilities)


def dense(labels: Labels, classes: int) -> Float[Array, "b classes"]:
    """Returns one vector of probabilities per example, inside the step.

    Args:
        labels: of the examples of a batch.
        classes: number of classes.
    """
    if labels.ids is None:
        assert labels.probabilities is not None
        return jnp.asarray(labels.probabilities)
    if labels.probabilities is None and labels.ids.shape[1] == 1:
        return jax.nn.one_hot(labels.ids[:, 0], classes, dtype=jnp.float32)
    values = jnp.float32(1.0) if labels.probabilities is None else labels.probabilities
    rows = jnp.arange(len(labels.ids), dtype=jnp.int32)[:, None]
    return jnp.zeros((len(labels.ids), classes), jnp.float32).at[rows, labels.ids].add(values, mode="drop")


def on_host(labels: Labels, classes: int) -> Float[np.ndarray, "n classes"]:
    """Returns the vectors of some images on the host, where there are few.

    Args:
        labels: of these images.
        classes: number of classes.
    """
    if labels.ids is None:
        return np.asarray(labels.probabilities)
    vectors = np.zeros((len(labels.ids), classes + 1), np.float32)  # the last column is of no class
    values = np.float32(1.0) if labels.probabilities is None else np.asarray(labels.probabilities)
    np.add.at(vectors, (np.arange(len(vectors))[:, None], np.asarray(labels.ids)), values)
    return vectors[:, :classes]


def counts(labels: Labels, rows: Int[np.ndarray, " m"], classes: int) -> Float[np.ndarray, " classes"]:
    """Returns how many of some images have each class; of soft labels the sums of their probabilities.

    Args:
        labels: of all images.
        rows: indices of these images.
        classes: number of classes.
    """
    some = take(labels, rows)
    if some.ids is None:
        totals: np.ndarray = np.asarray(some.probabilities).sum(0)
        return totals
    weights = None if some.probabilities is None else np.asarray(some.probabilities).ravel()
    return np.bincount(np.asarray(some.ids).ravel(), weights, classes + 1)[:classes].astype(np.float32)


def take(labels: Labels, rows: Int[np.ndarray, " m"]) -> Labels:
    """Returns the labels of some images.

    Args:
        labels: of all images.
        rows: their indices.
    """
    return Labels(*(None if values is None else values[rows] for values in labels))


def _stacked(parts: Sequence[Int[np.ndarray, "m k"]], classes: int) -> Int[np.ndarray, "n k"]:
    """Returns rows of different lengths, filled up with the number of classes."""
    width = max((part.shape[1] for part in parts), default=1)
    filled = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=classes) for part in parts]
    return np.concatenate(filled) if filled else np.zeros((0, width), np.int32)
