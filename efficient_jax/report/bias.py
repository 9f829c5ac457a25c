"""Table cells and a plot of class bias, as `explore.class_bias` measures it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.metrics.accuracy import wilson
from efficient_jax.report import charts

PRINTED = 20  # classes in a table, those that lose most accuracy

PROBE_HEADERS = ["applied", "trained with it", "before", "after", "control before", "control after", "excess, points"]


class Operation(NamedTuple):
    """What the strengths of an operation do to a member."""

    name: str
    plot: charts.Chart
    headers: list[str]
    rows: list[list[str]]


class MemberSection(NamedTuple):
    """The section of a member on the page, and what the terminal shows of it."""

    name: str
    images: str  # sentence on which images these are
    warnings: list[str]
    summary: list[list[str]]  # of the terminal: a row for each operation
    tests: str  # sentence on the tests that warnings come from
    unchanged: list[str]  # operations that change no prediction
    operations: list[Operation]
    probe_headers: list[str]
    probes: list[list[str]]  # of shortcuts
    control: str  # sentence on what they are compared with


def headers(steps: Sequence[str]) -> list[str]:
    """Returns the headers above the cells of `rows`.

    Args:
        steps: name of each strength of the operation, weak to strong; the first is without it.
    """
    return ["class", *steps, "slope"]


def rows(
    right: Int[np.ndarray, "steps classes"],
    n: Int[np.ndarray, " classes"],
    slopes: Float[np.ndarray, " classes"],
    classes: Sequence[str],
) -> list[list[str]]:
    """Returns the cells under `headers`: the mean over classes, the worst class, then the `PRINTED` steepest losses.

    Args:
        right: correct predictions of each class at each strength.
        n: images of each class; a class without images is left out.
        slopes: change of accuracy from one strength to the next, as a fraction; negative is a loss.
        classes: class names.
    """
    known = np.flatnonzero(n)
    accuracy = right[:, known] / n[known]
    worst = [f"{100 * step.min():.1f} ({classes[known[step.argmin()]]})" for step in accuracy]
    mean = [f"{100 * step.mean():.1f}" for step in accuracy]
    cells = [
        ["mean of classes", *mean, f"{100 * slopes[known].mean():+.1f}"],
        ["worst class", *worst, f"{100 * slopes[known].min():+.1f}"],
    ]
    for label in known[np.argsort(slopes[known], kind="stable")][:PRINTED]:
        rates = [_rate(int(step[label]), int(n[label])) for step in right]
        cells.append([classes[label], *rates, f"{100 * slopes[label]:+.1f}"])
    return cells


def plot(
    steps: Sequence[str],
    right: Int[np.ndarray, "steps classes"],
    n: Int[np.ndarray, " classes"],
    classes: Sequence[str],
) -> charts.Chart:
    """Draws accuracy against strength: each class faintly, their mean, and the worst class at the greatest strength.

    Args:
        steps: name of each strength, weak to strong.
        right: correct predictions of each class at each strength.
        n: images of each class; a class without images is left out.
        classes: class names.
    """
    known = np.flatnonzero(n)
    return charts.strengths(steps, 100 * right[:, known] / n[known], [classes[int(k)] for k in known])


def probe_row(
    applied: str,
    trained: str,
    rates: Sequence[tuple[int, int] | None],
    excess: tuple[float, float, float] | None,
) -> list[str]:
    """Returns the cells under `PROBE_HEADERS`.

    Args:
        applied: name of the operation.
        trained: names of the classes that were trained with it.
        rates: (images predicted as one of these classes, images), before and after the operation, of the member and
            then of the control; None where there is no control.
        excess: rise of the member minus rise of the control, as fractions: mean, low, high; None without a control.
    """
    cells = [_rate(*rate) if rate else "–" for rate in rates]
    excess_cell = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * value for value in excess)) if excess else "–"
    return [applied, trained, *cells, excess_cell]


def _rate(part: int, whole: int) -> str:
    if not whole:
        return "–"
    low, high = wilson(part, whole)
    return f"{100 * part / whole:.1f} [{100 * low:.0f}, {100 * high:.0f}]"
