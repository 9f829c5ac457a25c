"""Chooses one image of each cluster: the most typical one (TypiClust) or the one nearest to the centre (k-means)."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from efficient_jax.selection import pool
from efficient_jax.selection.pool import Indices

NEIGHBOURS = 20  # whose mean distance is the opposite of typicality
MOST_CLUSTERS = 500  # as the authors of TypiClust; beyond, clusters get several labels
THREADS = 1  # sums of several threads depend on their order

Cost = Callable[[Float[np.ndarray, "m d"]], Float[np.ndarray, " m"]]


def typical(
    features: Float[np.ndarray, "n d"], count: int, labelled: Indices = (), seed: int = 0
) -> Int[np.ndarray, " count"]:
    """Returns the most typical image of each cluster, the largest cluster first: TypiClust (arXiv 2202.02794).

    There are as many clusters as images that are labelled or chosen, at most 500. The most typical image is the one
    with the smallest mean distance to its 20 nearest neighbours in its cluster.

    Args:
        features: one vector per image, compared by direction, float [n d].
        count: number of images to choose, 1 or more.
        labelled: indices of the labelled images; clusters that have fewer of them come first.
        seed: of k-means, 0 or more.

    Returns: int32 [count] indices.

    Raises: UserError where fewer images are left, and for features that are not finite.
    """

    def mean_distance(points: np.ndarray) -> np.ndarray:
        others = points[pool.sampled(np.arange(len(points)), pool.EXACT, seed)]
        nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS + 1, len(others)), algorithm="brute").fit(others)
        means: np.ndarray = nearest.kneighbors(points)[0].mean(1)  # the image itself adds 0 to all of the sums
        return means

    return _of_clusters(features, count, labelled, seed, mean_distance)


def centroids(
    features: Float[np.ndarray, "n d"], count: int, labelled: Indices = (), seed: int = 0
) -> Int[np.ndarray, " count"]:
    """Returns the image nearest to the centre of each cluster, the largest cluster first (arXiv 2110.12033).

    Clusters are those of `typical`.

    Args:
        features: one vector per image, compared by direction, float [n d].
        count: number of images to choose, 1 or more.
        labelled: indices of the labelled images; clusters that have fewer of them come first.
        seed: of k-means, 0 or more.

    Returns: int32 [count] indices.

    Raises: UserError where fewer images are left, and for features that are not finite.
    """
    return _of_clusters(features, count, labelled, seed, lambda points: np.square(points - points.mean(0)).sum(1))


def _of_clusters(
    features: np.ndarray, count: int, labelled: Indices, seed: int, cost: Cost
) -> Int[np.ndarray, " count"]:
    """Returns the images of least cost in the clusters, in turn: fewest labels first, of these the largest cluster."""
    free = pool.candidates(len(features), count, labelled)
    points = pool.points(features, seed)
    clusters = min(count + int((~free).sum()), MOST_CLUSTERS, len(np.unique(points, axis=0)))
    with threadpool_limits(THREADS):
        cluster_of = KMeans(clusters, n_init=1, random_state=seed).fit_predict(points)
        sizes = np.bincount(cluster_of, minlength=clusters)
        labels = np.bincount(cluster_of[~free], minlength=clusters)
        waiting: dict[int, list[int]] = {}  # cluster -> its images that are not labelled, the best last
        chosen: list[int] = []
        while len(chosen) < count:
            best = int(np.lexsort((-sizes, labels))[0])
            if best not in waiting:
                members = np.flatnonzero(cluster_of == best)
                order = members[np.argsort(cost(points[members]), kind="stable")]
                waiting[best] = order[free[order]][::-1].tolist()
            if waiting[best]:
                chosen.append(waiting[best].pop())
            labels[best] += 1 if waiting[best] else len(features)
    return np.array(chosen, np.int32)
