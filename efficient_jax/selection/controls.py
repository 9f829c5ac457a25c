"""Random choices, with which a selection is compared: uniform, and with equal numbers of each class."""

import numpy as np
from jaxtyping import Int

from efficient_jax.selection import pool
from efficient_jax.selection.pool import Indices


def uniform(images: int, count: int, labelled: Indices = (), seed: int = 0) -> Int[np.ndarray, " count"]:
    """Returns images drawn at random without replacement.

    Args:
        images: number of images.
        count: number of images to choose, 1 or more.
        labelled: indices of the labelled images, which are not chosen.
        seed: of the draw, 0 or more.

    Returns: int32 [count] indices. The first k of them are the choice for a count of k.

    Raises: UserError where fewer images are left.
    """
    rows = np.flatnonzero(pool.candidates(images, count, labelled))
    return np.random.default_rng(seed).permutation(rows)[:count].astype(np.int32)


def class_balanced(
    labels: Int[np.ndarray, " n"], count: int, labelled: Indices = (), seed: int = 0
) -> Int[np.ndarray, " count"]:
    """Returns images drawn at random so that all classes have equal numbers, as far as possible.

    That takes the labels of all images, which a person who chooses what to label does not have: it is a control.

    Args:
        labels: class index of each image, 0 or more, int [n].
        count: number of images to choose, 1 or more.
        labelled: indices of the labelled images; they count, and are not chosen.
        seed: of the draw, 0 or more.

    Returns: int32 [count] indices. The first k of them are the choice for a count of k.

    Raises: UserError where fewer images are left.
    """
    free = pool.candidates(len(labels), count, labelled)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.flatnonzero(free))
    before = np.bincount(labels[~free], minlength=labels.max() + 1)
    number = np.empty(len(rows), int)  # of labels that its class has with the image
    for label in np.unique(labels[rows]):
        members = labels[rows] == label
        number[members] = before[label] + 1 + np.arange(members.sum())
    return rows[np.lexsort((rng.random(len(rows)), number))][:count].astype(np.int32)
