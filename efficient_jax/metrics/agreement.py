"""How alike members err: an ensemble gains from errors that are not shared. Plain numpy, on the host."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from scipy import stats
from sklearn.metrics import cohen_kappa_score


class Agreement(NamedTuple):
    """Of two members on the same images."""

    disagreement: float  # share of images for which they answer different classes
    error_correlation: float  # phi coefficient of being wrong; nan where one is always or never wrong
    kappa: float  # Cohen's, of their answers
    q: float  # Yule's Q of being right; nan where it is 0 / 0


def agreement(a: Int[np.ndarray, "n"], b: Int[np.ndarray, "n"], labels: Int[np.ndarray, "n"]) -> Agreement:
    right_a, right_b = a == labels, b == labels
    with np.errstate(invalid="ignore"):
        both, neither = (right_a & right_b).sum(), (~right_a & ~right_b).sum()
        first, second = (right_a & ~right_b).sum(), (~right_a & right_b).sum()
        margins = np.prod([float(part.sum()) for part in (right_a, ~right_a, right_b, ~right_b)])
        crossed = float(both * neither) - float(first * second)
        phi = crossed / np.sqrt(margins) if margins else np.nan
        whole = float(both * neither) + float(first * second)
        kappa = 1.0 if (a == b).all() else cohen_kappa_score(a, b)  # 0 / 0 where both always answer one class
        return Agreement(float((a != b).mean()), float(phi), float(kappa), crossed / whole if whole else np.nan)


class Change(NamedTuple):
    """What one member gained on another."""

    won: Bool[np.ndarray, "n"]  # images that only the second has right
    lost: Bool[np.ndarray, "n"]  # images that only the first has right
    p_value: float  # McNemar's exact test of won against lost, two-sided


def change(a: Int[np.ndarray, "n"], b: Int[np.ndarray, "n"], labels: Int[np.ndarray, "n"]) -> Change:
    """From the answers `a` to the answers `b`, for instance of a teacher and its student."""
    won, lost = (b == labels) & (a != labels), (a == labels) & (b != labels)
    differ = int(won.sum() + lost.sum())
    p = stats.binomtest(int(won.sum()), differ).pvalue if differ else 1.0
    return Change(won, lost, float(p))
