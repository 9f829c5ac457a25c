"""Distances between images in a feature space: spread of classes, outliers, and the effect of transformations."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from threadpoolctl import threadpool_limits

Features = Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n d"]]
"""Maps images to feature vectors."""

COMPONENTS = 32
IMAGES_PER_COMPONENT = 10
THREADS = 1  # of BLAS: more of them wait for each other on a busy machine


def principal(images: UInt8[np.ndarray, "n h w c"], count: int = COMPONENTS) -> Features:
    """Returns a function that maps images to their scores on the first principal components of `images`.

    Args:
        images: uint8 [n h w c], small ones; those that are mapped have the same shape.
        count: number of components, 1 or more.
    """

    def rows(images: np.ndarray) -> Float[np.ndarray, "n d"]:
        return images.reshape(len(images), -1).astype(np.float32) / 255

    mean, directions = _components(rows(images), count)
    return lambda images: (rows(images) - mean) @ directions


def scores(features: Float[np.ndarray, "n d"], count: int) -> Float[np.ndarray, "n k"]:
    """Returns features on their own first principal components, float [n k], k at most `count`.

    Args:
        features: float [n d].
        count: number of components, 1 or more.
    """
    mean, directions = _components(features, count)
    on_components: np.ndarray = (features - mean) @ directions
    return on_components


def spread(features: Float[np.ndarray, "n d"], members: Bool[np.ndarray, "n classes"]) -> Float[np.ndarray, " classes"]:
    """Returns the root mean square distance of each class from its mean, relative to that of all images from theirs.

    Args:
        features: float [n d].
        members: bool [n classes], which images are of each class.

    Returns: float [classes], NaN for classes of fewer than two images.
    """

    def radius(x: np.ndarray) -> float:
        return float(np.sqrt(np.square(x - x.mean(0)).sum(1).mean()))

    whole = radius(features)
    return np.array([radius(features[rows]) / whole if rows.sum() > 1 and whole else np.nan for rows in members.T])


def mahalanobis(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Returns the distance of each image from the mean of all, float [n], about 1.

    It is in standard deviations of up to 32 principal components, divided by the square root of their number.

    Args:
        features: float [n d].
    """
    count = max(1, min(COMPONENTS, len(features) // IMAGES_PER_COMPONENT, features.shape[1]))
    components = scores(features, count)
    scale = components.std(0)
    distances: np.ndarray = np.sqrt(np.square(components / np.where(scale > 0, scale, 1)).mean(1))
    return distances


def outliers(distances: Float[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Returns the rows of outliers, int [m], the farthest first: beyond Tukey's upper fence of the logarithms.

    Args:
        distances: float [n], 0 or more.
    """
    logs = np.log(np.maximum(distances, 1e-6))
    low, high = np.quantile(logs, (0.25, 0.75))
    rows = np.flatnonzero(logs > high + 1.5 * (high - low) + 1e-6)
    return rows[np.argsort(-logs[rows], kind="stable")]


def nearest_agree(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], moved: Float[np.ndarray, "n d"]
) -> Bool[np.ndarray, " n"]:
    """Returns a mask bool [n]: whether each row of `moved` has the label of the nearest of the other images.

    Args:
        features: float [n d], of the images.
        labels: int [n], class indices.
        moved: float [n d], of the same images, transformed or not.
    """
    from sklearn.neighbors import NearestNeighbors  # takes 0.5 s, so only where it is needed

    with threadpool_limits(THREADS):
        _, nearest = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(features).kneighbors(moved)
    others = np.where(nearest[:, 0] == np.arange(len(labels)), nearest[:, 1], nearest[:, 0])
    agrees: np.ndarray = labels[others] == labels
    return agrees


def _components(
    features: Float[np.ndarray, "n d"], count: int
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d k"]]:
    """Returns (the mean, the directions of most variance)."""
    mean = features.mean(0)
    centred = features - mean
    with threadpool_limits(THREADS):
        _, vectors = np.linalg.eigh(centred.T @ centred)
    return mean, vectors[:, ::-1][:, :count]
