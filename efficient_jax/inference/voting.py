"""Combines the probabilities of several members into one, for images and for pixels. Plain numpy, on the host."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int, Integer

from efficient_jax import files
from efficient_jax.errors import UserError

Members = Float[np.ndarray, "m *n classes"]
Answer = tuple[Float[np.ndarray, "*n classes"], Integer[np.ndarray, " *n"]]
"""(probabilities, index of the predicted class)"""

EQUAL = 1e-9  # sums of weights that differ by less are equal


def soft(probabilities: Members, weights: Float[np.ndarray, " m"]) -> Answer:
    """Returns the weighted mean of the probabilities, and its most probable class.

    The log-likelihood of the mean is, for each example, no worse than the mean log-likelihood of the members.

    Args:
        probabilities: of every member.
        weights: of every member, 0 or more, one of them above 0.

    Raises: UserError for other weights.
    """
    mean = np.tensordot(_shares(weights, len(probabilities)), probabilities, 1).astype(probabilities.dtype)
    return mean, mean.argmax(-1)


def hard(probabilities: Members, weights: Float[np.ndarray, " m"]) -> Answer:
    """Returns the weighted share of the members that predict each class, and the class with the largest share.

    Of classes with equal shares the one with the highest weighted mean probability is predicted, then the first.

    Args:
        probabilities: of every member; a member predicts its most probable class.
        weights: of every member, 0 or more, one of them above 0.

    Raises: UserError for other weights.
    """
    votes = probabilities.argmax(-1)[..., None] == np.arange(probabilities.shape[-1])
    share = np.tensordot(_shares(weights, len(probabilities)), votes, 1).astype(probabilities.dtype)
    mean, _ = soft(probabilities, weights)
    most = share >= share.max(-1, keepdims=True) - EQUAL
    return share, np.where(most, mean, -1.0).argmax(-1)


VOTES: dict[str, Callable[[Members, Float[np.ndarray, " m"]], Answer]] = {"soft": soft, "hard": hard}


def by_image(vote: str, members: Sequence[np.ndarray], weights: Float[np.ndarray, " m"]) -> Answer:
    """Returns the vote on the pixels of images, one image after the other: probabilities that are not in memory.

    Args:
        vote: a name of `VOTES`.
        members: probabilities of every member, [n h w classes] each, see `files.scratch`.
        weights: as for the vote.

    Returns: (probabilities of the dtype of the members, index of the predicted class uint8 [n h w]).

    Raises: UserError as the vote.
    """
    probabilities = files.scratch(members[0].shape, members[0].dtype)
    answers = np.zeros(members[0].shape[:-1], np.uint8)
    for i, of_image in enumerate(zip(*map(files.entries, members), strict=True)):
        probabilities[i], answers[i] = VOTES[vote](np.stack(of_image).astype(np.float32), weights)
        files.release(probabilities)
    return probabilities, answers


def _shares(weights: Float[np.ndarray, " m"], members: int) -> Float[np.ndarray, " m"]:
    weights = np.asarray(weights, np.float64)
    if weights.shape != (members,):
        raise UserError(f"weights of members: {weights.tolist()} for {members} members; want one for each")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise UserError(f"weights of members: {weights.tolist()}; want numbers from 0 on, one of them above 0")
    shares: np.ndarray = weights / weights.sum()
    return shares


def greedy(probabilities: Members, labels: Int[np.ndarray, " n"]) -> tuple[list[int], list[float]]:
    """Orders members greedily by what they add to the soft vote.

    Each round adds the member with which the vote has the highest accuracy; of equal ones that with the best
    log-likelihood, then the first.

    Args:
        probabilities: of every member, [m n classes].
        labels: true class of each image. Take validation images: test figures would be optimistic afterwards.

    Returns: (indices of the members in the order in which they join, accuracy of the vote after each of them).
    """
    chosen: list[int] = []
    scores: list[float] = []
    rows = np.arange(len(labels))
    while len(chosen) < len(probabilities):
        ranked = []
        for m in sorted(set(range(len(probabilities))) - set(chosen)):
            mean = probabilities[[*chosen, m]].mean(0, dtype=np.float64)
            likelihood = np.log(np.maximum(mean[rows, labels], np.finfo(np.float32).tiny)).mean()
            ranked.append(((mean.argmax(1) == labels).mean(), likelihood, -m))
        right, _, best = max(ranked)
        chosen.append(-best)
        scores.append(float(right))
    return chosen, scores
