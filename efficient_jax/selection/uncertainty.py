"""Chooses images to label next by uncertainty and diversity, from the predictions of an ensemble. Plain numpy."""

from collections.abc import Callable

import numpy as np
import scipy
from jaxtyping import Float, Int

TINY = float(np.finfo(np.float32).tiny)
WITHIN = 0.5  # candidates score at least this share of the `count`-th highest score
ROUNDS = 20  # of k-means; the assignment rarely changes after ten

Members = Float[np.ndarray, "m n classes"]
Scores = Float[np.ndarray, " n"]


def entropy(probabilities: Members) -> Scores:
    """Returns the entropy of the mean prediction of the members.

    Args:
        probabilities: predictions of each member, in 0..1 with sum 1 over the classes, float [members images classes].

    Returns: one score per image, in nats, 0..log(classes).
    """
    return _entropy(probabilities.mean(0, dtype=np.float64))


def margin(probabilities: Members) -> Scores:
    """Returns 1 minus the difference between the two highest probabilities of the mean prediction.

    Args:
        probabilities: predictions of each member, in 0..1 with sum 1 over the classes, float [members images classes].

    Returns: one score per image, in 0..1; 1 where the two most probable classes are equally probable.
    """
    first, second = np.sort(probabilities.mean(0, dtype=np.float64), axis=1)[:, :-3:-1].T
    scores: Scores = 1.0 - (first - second)
    return scores


def disagreement(probabilities: Members) -> Scores:
    """Returns the entropy of the mean prediction minus the mean entropy of the members (BALD, arXiv 1112.5745).

    Args:
        probabilities: predictions of each member, in 0..1 with sum 1 over the classes, float [members images classes].

    Returns: one score per image, in nats, 0 or more; 0 for one member, and where all members agree.
    """
    probabilities = probabilities.astype(np.float64)
    scores: Scores = np.maximum(entropy(probabilities) - _entropy(probabilities).mean(0), 0.0)
    return scores


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    nats: np.ndarray = -(probabilities * np.log(np.maximum(probabilities, TINY))).sum(-1)
    return nats


RANKINGS: dict[str, Callable[[Members], Scores]] = {"entropy": entropy, "margin": margin, "disagreement": disagreement}


def diverse(features: Float[np.ndarray, "n d"], scores: Scores, count: int) -> Int[np.ndarray, " k"]:
    """Returns the indices of `count` uncertain and diverse images, the highest score first.

    Candidates are all images whose score is at least half the `count`-th highest. They are clustered by their features,
    and the image with the highest score of each cluster is chosen. After the diverse mini-batches of arXiv 1901.05954,
    which takes the image next to each centre instead.

    Args:
        features: one vector per image, compared by angle, float [images features].
        scores: uncertainty of each image, 0 or more, for example from `RANKINGS`.
        count: number of images to choose, 1 or more; all images if there are fewer.

    Returns: indices of the chosen images, int [min(count, images)].
    """
    if count >= len(scores):
        return np.argsort(-scores, kind="stable")
    pool = np.flatnonzero(scores >= WITHIN * np.partition(scores, -count)[-count])
    pool = pool[np.argsort(-scores[pool], kind="stable")]
    cluster = clusters(features[pool], scores[pool], count)
    first = np.unique(cluster, return_index=True)[1]  # the pool is in order of score
    others = np.setdiff1d(np.arange(len(pool)), first)[: count - len(first)]  # where clusters are empty: copies
    return pool[np.sort(np.append(first, others))]


def clusters(features: Float[np.ndarray, "n d"], weights: Scores, count: int) -> Int[np.ndarray, " n"]:
    """Returns the cluster of each image, by weighted k-means of unit vectors.

    The first centre is the first image. Each further centre is the image farthest from all earlier centres
    (arXiv 1708.00489). Equal features share a cluster, so that some clusters may be empty.

    Args:
        features: one vector per image, compared by angle, float [images features].
        weights: weight of each image in the mean of its cluster, 0 or more; if all are 0, all images weigh the same.
        count: number of clusters, 1 or more.

    Returns: the index of each image's cluster, in 0..count - 1, int [images].
    """
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), TINY)
    first_images = [0]
    nearest = directions @ directions[0]
    while len(first_images) < min(count, len(directions)):
        first_images.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, directions @ directions[first_images[-1]])
    centres, rows = directions[first_images], np.arange(len(directions))
    shares = weights / weights.max() if weights.any() else np.ones(len(directions))
    cluster: Int[np.ndarray, " n"] = (directions @ centres.T).argmax(1)
    for _ in range(ROUNDS):
        sums = (
            scipy.sparse.csr_array((shares.astype(directions.dtype), (cluster, rows)), (len(centres), len(directions)))
            @ directions
        )
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, TINY), centres)
        previous, cluster = cluster, (directions @ centres.T).argmax(1)
        if np.array_equal(previous, cluster):
            break
    return cluster
