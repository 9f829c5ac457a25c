"""Agreement of two models on the same images: an ensemble gains from errors that its members do not share.

Plain numpy, on the host.
"""

from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Bool, Int


class Agreement(NamedTuple):
    """Agreement of two models on the same images."""

    disagreement: float  # share of images with different predicted classes, 0..1
    error_correlation: float  # phi coefficient of the errors, -1..1; NaN if a model is always or never wrong
    kappa: float  # Cohen's kappa of the predicted classes
    q: float  # Yule's Q of correctness, -1..1; NaN where it is 0 / 0


def agreement(a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Agreement:
    """Returns the agreement between the predictions of two models.

    Args:
        a: predicted class index of the first model for each image.
        b: predicted class index of the second model for the same images.
        labels: true class index of each image.

    Returns: an `Agreement`.
    """
    from sklearn.metrics import cohen_kappa_score  # takes 0.5 s, so only where it is needed

    right_a, right_b = a == labels, b == labels
    with np.errstate(invalid="ignore"):
        both, neither = (right_a & right_b).sum(), (~right_a & ~right_b).sum()
        first, second = (right_a & ~right_b).sum(), (~right_a & right_b).sum()
        margins = np.prod([float(part.sum()) for part in (right_a, ~right_a, right_b, ~right_b)])
        crossed = float(both * neither) - float(first * second)
        phi = crossed / np.sqrt(margins) if margins else np.nan
        whole = float(both * neither) + float(first * second)
        kappa = 1.0 if (a == b).all() else cohen_kappa_score(a, b)  # 0 / 0 if both always predict one class
        return Agreement(float((a != b).mean()), float(phi), float(kappa), crossed / whole if whole else np.nan)


class Paired(TypedDict):
    """A stage beside an earlier one on the same images."""

    stage: str  # the earlier one
    won: int  # images on which only the later one is right, or has the higher score
    lost: int  # images on which only the earlier one is right, or has the higher score
    n: int  # images
    p: float  # see `sign_test`
    difference: float  # mean score of the later one minus that of the earlier one; of right images their shares


class Change(NamedTuple):
    """Images on which one model is right and another is not."""

    won: Bool[np.ndarray, " n"]  # only the second model is right
    lost: Bool[np.ndarray, " n"]  # only the first model is right
    p_value: float  # of McNemar's exact test of won against lost, two-sided


def change(a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Change:
    """Returns which images a second model wins and loses against a first one, such as a student against its teacher.

    Args:
        a: predicted class index of the first model for each image.
        b: predicted class index of the second model for the same images.
        labels: true class index of each image.

    Returns: a `Change`; its p-value is 1.0 if no image differs.
    """
    won, lost = (b == labels) & (a != labels), (a == labels) & (b != labels)
    return Change(won, lost, sign_test(int(won.sum()), int(lost.sum())))


def sign_test(won: int, lost: int) -> float:
    """Returns the p-value of the exact two-sided test that won and lost are equally likely (McNemar 1947).

    Args:
        won: number of images on which only one model is right.
        lost: number of images on which only the other is right.

    Returns: a probability; 1.0 if both are 0.
    """
    differ, term, tail = won + lost, 1, 1
    for k in range(min(won, lost)):
        term = term * (differ - k) // (k + 1)  # the binomial coefficient of k + 1, exactly
        tail += term
    chance: float = 2 * tail / 2**differ
    return min(1.0, chance)
