"""Which images to label next: those of which the members are least sure, and unlike each other. Plain numpy."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

TINY = float(np.finfo(np.float32).tiny)
AMONG = 10  # times as many unsure images as are wanted, to choose unlike ones from

Members = Float[np.ndarray, "m n classes"]
Scores = Float[np.ndarray, "n"]


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


def diverse(features: Float[np.ndarray, "n d"], scores: Scores, count: int) -> Int[np.ndarray, "k"]:
    """`count` images (or all, if there are fewer) of the `AMONG` times as many with the highest scores: that with the
    highest one, then again and again the one whose features are farthest from all chosen (arXiv 1708.00489), in angle.
    """
    pool = np.argsort(-scores, kind="stable")[: AMONG * count]
    seen = features[pool].astype(np.float64)
    seen /= np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), TINY)
    chosen = [0]
    nearest = 1.0 - seen @ seen[0]
    while len(chosen) < min(count, len(pool)):
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, 1.0 - seen @ seen[chosen[-1]])
    return pool[chosen]
