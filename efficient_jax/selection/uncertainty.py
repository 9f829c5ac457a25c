"""Which images to label next: those of which the members are least sure, and unlike each other. Plain numpy."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

TINY = float(np.finfo(np.float32).tiny)
WITHIN = 0.5  # of the score up to which images would be chosen by score alone: no image below is a candidate
ROUNDS = 20  # of k-means; the assignment rarely changes after ten

Members = Float[np.ndarray, "m n classes"]
Scores = Float[np.ndarray, " n"]


def entropy(probabilities: Members) -> Scores:
    """Of the mean of the members' probabilities, in nats: 0 .. log(classes)."""
    return _entropy(probabilities.mean(0, dtype=np.float64))


def margin(probabilities: Members) -> Scores:
    """1 minus the distance between the two most probable classes of the mean: 1 where they are equally probable."""
    first, second = np.sort(probabilities.mean(0, dtype=np.float64), axis=1)[:, :-3:-1].T
    return 1.0 - (first - second)


def disagreement(probabilities: Members) -> Scores:
    """How much the entropy of the mean exceeds the mean entropy of the members, in nats: their mutual information with
    the answer (arXiv 1112.5745); 0 for one member, or several that say the same."""
    probabilities = probabilities.astype(np.float64)
    return np.maximum(entropy(probabilities) - _entropy(probabilities).mean(0), 0.0)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    return -(probabilities * np.log(np.maximum(probabilities, TINY))).sum(-1)


RANKINGS: dict[str, Callable[[Members], Scores]] = {"entropy": entropy, "margin": margin, "disagreement": disagreement}


def diverse(features: Float[np.ndarray, "n d"], scores: Scores, count: int) -> Int[np.ndarray, " k"]:
    """Returns the indices of `count` images (all, if there are fewer), the highest score first: of each cluster of the
    candidates the one with the highest score, so that no chosen image is surer than one left out of its cluster.

    Candidates are all images whose score is at least half the `count`-th highest. After the diverse mini-batches of
    arXiv 1901.05954, which takes the image next to each centre instead.

    Args:
        features: of each image, compared by angle.
        scores: of a ranking, 0 and above; high where the members are unsure.
        count: how many images to choose, 1 and above.
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
    """Returns the cluster, 0 .. `count` - 1, of each image: k-means in angle, in which images count by `weights`.

    The first centre is the first image, each next one the image farthest from all centres before (arXiv 1708.00489).
    Features that are equal share a cluster, so that some may be empty.
    """
    seen = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), TINY)
    chosen = [0]
    nearest = seen @ seen[0]
    while len(chosen) < min(count, len(seen)):
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, seen @ seen[chosen[-1]])
    centres, rows = seen[chosen], np.arange(len(seen))
    shares = weights / weights.max() if weights.any() else np.ones(len(seen))
    cluster = (seen @ centres.T).argmax(1)
    for _ in range(ROUNDS):
        sums = sparse.csr_array((shares.astype(seen.dtype), (cluster, rows)), (len(centres), len(seen))) @ seen
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, TINY), centres)
        before, cluster = cluster, (seen @ centres.T).argmax(1)
        if np.array_equal(before, cluster):
            break
    return cluster
