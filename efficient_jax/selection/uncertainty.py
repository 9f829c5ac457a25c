"""How uncertain one model or an ensemble is of each image, and the images that it is the most uncertain of."""

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.selection import pool
from efficient_jax.selection.pool import Indices

TINY = float(np.finfo(np.float32).tiny)

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


def highest(scores: Scores, count: int, labelled: Indices = ()) -> Int[np.ndarray, " count"]:
    """Returns the images with the highest scores, in order of choice.

    They may be much alike: `coverage.uncertainty_coverage` and `badge` choose images that differ.

    Args:
        scores: uncertainty of each image, float [n], for example from `margin`.
        count: number of images to choose, 1 or more.
        labelled: indices of the labelled images, which are not chosen.

    Returns: int32 [count] indices; of equal scores the one with the lower index comes first.

    Raises: UserError where fewer images are left, and for scores that are not finite.
    """
    rows = np.flatnonzero(pool.candidates(len(scores), count, labelled))
    return rows[np.argsort(-pool.finite(scores, "scores")[rows], kind="stable")][:count].astype(np.int32)
