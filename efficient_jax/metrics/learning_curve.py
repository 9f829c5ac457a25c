"""Learning curves: accuracy against labels, a power law fitted to them, and what more labels are expected to bring.

Plain numpy, on the host.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

EXPONENTS = np.linspace(0.05, 2.0, 79)  # those that are tried; published ones are 0.07 to 1 (arXiv 1712.00409)
FARTHEST = 4  # times the labels that there are: no accuracy is predicted beyond
DRAWS = 1000  # bootstraps of an interval
WIDER = 2.3  # factor of the bootstraps' intervals, chosen on digits: tests/benchmarks/README.md


class PowerLaw(NamedTuple):
    """The error floor + factor labels^-exponent; arrays of any one shape for many fits."""

    floor: Float[np.ndarray, " *shape"]  # error with infinitely many labels, 0 or more
    factor: Float[np.ndarray, " *shape"]  # 0 or more: the error never rises
    exponent: Float[np.ndarray, " *shape"]

    def accuracy(self, labels: float) -> Float[np.ndarray, " *shape"]:
        """Returns the accuracy with so many labels, at most 1.

        Args:
            labels: number of labels, above 0.
        """
        return np.asarray(1.0 - self.floor - self.factor * labels**-self.exponent)


def fit(labels: Int[np.ndarray, " k"], accuracies: Float[np.ndarray, "*shape k"], with_floor: bool = True) -> PowerLaw:
    """Returns the power law with the least squared error, each point weighted by its number of labels.

    Few labels are weighted less because the law holds for many. For each exponent the rest is a least-squares problem
    in two variables that are 0 or more, which is solved exactly.

    Args:
        labels: number of labels of each point, two or more different ones.
        accuracies: with so many labels, 0..1; leading axes are fitted one by one.
        with_floor: whether the error may have a floor above 0.
    """
    weights = labels / labels.sum()
    x = labels.astype(float) ** -EXPONENTS[:, None]  # exponents, points
    errors = 1.0 - np.asarray(accuracies, np.float64)[..., None, :]
    mean_x, mean_error = x @ weights, errors @ weights
    centred = (x - mean_x[:, None]) * weights
    factor = np.maximum((errors * centred).sum(-1) / (x * centred).sum(-1), 0.0)
    floor = mean_error - factor * mean_x
    through_zero = (errors * x * weights).sum(-1) / (x**2 @ weights)
    zero = (floor < 0) | (not with_floor)
    factor, floor = np.where(zero, through_zero, factor), np.where(zero, 0.0, floor)
    squares = ((floor[..., None] + factor[..., None] * x - errors) ** 2 @ weights).argmin(-1)
    floor, factor = (np.take_along_axis(values, squares[..., None], -1)[..., 0] for values in (floor, factor))
    return PowerLaw(floor, factor, EXPONENTS[squares])


class Gain(NamedTuple):
    """The accuracy that more labels are expected to add."""

    labels: int  # that there are
    more: int  # number of labels in all that is compared with it
    points: float  # accuracy with `more` - accuracy with `labels`, 0..1
    low: float
    high: float


class Forecast(NamedTuple):
    """A learning curve that was measured, and its continuation."""

    labels: Int[np.ndarray, " k"]  # numbers of labels
    accuracy: Float[np.ndarray, " k"]  # measured with so many, 0..1
    at: Float[np.ndarray, " m"]  # numbers of labels of the curve, from the first to `FARTHEST` times those there are
    curve: Float[np.ndarray, " m"]  # the fitted accuracy
    low: Float[np.ndarray, " m"]
    high: Float[np.ndarray, " m"]
    gains: tuple[Gain, ...]  # of doubling the labels, and of doubling them again up to `FARTHEST` times


def forecast(
    labels: Int[np.ndarray, " k"],
    correct: Float[np.ndarray, "k n"],
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Forecast:
    """Returns the learning curve of n labels and its continuation up to 4 n, with bootstrap intervals.

    The bootstraps draw images, so that an interval of a gain is paired: how difficult an image is cancels. Few points
    do not tell whether the error has a floor: half of the bootstraps are fitted with one and half without, and the
    curve is the mean of both fits.

    Args:
        labels: numbers of labels with which was trained, ascending, two or more different ones.
        correct: of each labelled image, how often it was predicted correctly with so many labels while it was held
            out, 0..1.
        seed: of the bootstraps.
        level: confidence level of the intervals, 0..1.
    """
    n = correct.shape[1]
    at = np.unique(np.append(np.geomspace(labels[0], FARTHEST * n, 60), n))
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), DRAWS) @ correct.T / n
    fits = [fit(labels, correct.mean(1), with_floor) for with_floor in (True, False)]
    draws = [fit(labels, half, with_floor) for half, with_floor in zip(np.split(drawn, 2), (True, False), strict=True)]
    tails = (0.5 - level / 2, 0.5 + level / 2)

    def of_all(count: float) -> float:
        return float(np.mean([law.accuracy(count) for law in fits]))

    def of_draws(count: float) -> Float[np.ndarray, " draws"]:
        return np.concatenate([law.accuracy(count) for law in draws])

    def gain(fewer: int, more: int) -> Gain:
        points = of_all(more) - of_all(fewer)
        ends = np.quantile(of_draws(more) - of_draws(fewer), tails)
        low, high = (points + WIDER * (ends - points)).tolist()
        return Gain(fewer, more, points, max(0.0, low), high)

    curve = np.array([of_all(count) for count in at])
    low, high = curve + WIDER * (np.quantile([of_draws(count) for count in at], tails, axis=1) - curve)
    doublings = [n * 2**i for i in range(FARTHEST.bit_length())]
    gains = tuple(itertools.starmap(gain, itertools.pairwise(doublings)))
    return Forecast(
        np.asarray(labels), correct.mean(1), at, np.array([of_all(count) for count in at]), low, high, gains
    )
