"""What all selections share: checked arguments, unit vectors, and few dimensions for large pools."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from efficient_jax.errors import UserError, counted

Indices = Sequence[int] | Int[np.ndarray, " _"]

EXACT = 10_000  # images up to which nothing is approximated
DIMENSIONS = 64  # principal components in which larger pools are compared


def candidates(images: int, count: int, labelled: Indices) -> Bool[np.ndarray, " n"]:
    """Returns which images can be chosen: all that are not labelled.

    Args:
        images: number n of images.
        count: number of images to choose.
        labelled: indices of the labelled images.

    Raises: UserError where `count` is not between 1 and the number of such images, and for an index out of range.
    """
    indices = np.asarray(labelled, np.int64).reshape(-1)
    if len(indices) and not 0 <= indices.min() <= indices.max() < images:
        raise UserError(
            f"labelled: index {indices[(indices < 0) | (indices >= images)][0]} of {counted(images, 'image')}; want 0 "
            f"to {images - 1}"
        )
    free = np.ones(images, bool)
    free[indices] = False
    if count < 1:
        raise UserError(f"count: {count} is too small; want 1 or more")
    if count > free.sum():
        left = counted(int(free.sum()), "image is", "images are")
        raise UserError(f"count: {count} asked, but {left} not labelled; ask for fewer")
    return free


def finite(values: Float[np.ndarray, "n ..."], what: str) -> Float[np.ndarray, "n ..."]:
    """Returns values as they are, checked.

    Args:
        values: of n images.
        what: what they are, for messages.

    Raises: UserError where some are NaN or infinite.
    """
    wrong = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if wrong.any():
        raise UserError(
            f"{what}: those of {counted(int(wrong.sum()), 'image')} are not finite, such as of index "
            f"{wrong.argmax()}; leave such images out"
        )
    return values


def unit(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Returns features divided by their lengths, float32; a vector of zeros stays one.

    Args:
        features: float [n d].

    Raises: UserError where some are NaN or infinite.
    """
    finite(features, "features")
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    vectors: np.ndarray = (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return vectors


def points(features: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n k"]:
    """Returns the unit vectors of images; of more than `EXACT` images their first `DIMENSIONS` principal components.

    Args:
        features: float [n d].
        seed: of the `EXACT` images from which the components are computed, 0 or more.

    Returns: float32 [n d], or [n DIMENSIONS] where n is above `EXACT` and d above `DIMENSIONS`. Distances between
        components are at most those between the vectors.

    Raises: UserError where some features are NaN or infinite.
    """
    vectors = unit(features)
    if len(vectors) <= EXACT or vectors.shape[1] <= DIMENSIONS:
        return vectors
    mean = vectors.mean(0)
    sample = vectors[sampled(np.arange(len(vectors)), EXACT, seed)] - mean
    _, directions = np.linalg.eigh(sample.T @ sample)
    scores: np.ndarray = (vectors - mean) @ directions[:, : -DIMENSIONS - 1 : -1]
    return scores


def sampled(indices: Int[np.ndarray, " n"], most: int, seed: int) -> Int[np.ndarray, " m"]:
    """Returns all of the indices, or `most` of them, drawn at random, in their order.

    Args:
        indices: int [n].
        most: how many are enough, 1 or more.
        seed: of the draw, 0 or more.
    """
    if len(indices) <= most:
        return indices
    return indices[np.sort(np.random.default_rng(seed).choice(len(indices), most, replace=False))]
