"""Class bias, as `class_bias` measures it, in cells and a plot."""

import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from efficient_jax.metrics.accuracy import wilson
from efficient_jax.report import plots

PRINTED = 20  # classes, those first that lose most

PROBE_HEADERS = ["applied", "trained with it", "before", "after", "control before", "control after", "excess, points"]


def headers(steps: Sequence[str]) -> list[str]:
    return ["class", *steps, "slope"]


def rows(
    right: Int[np.ndarray, "steps classes"],
    n: Int[np.ndarray, " classes"],
    slopes: Float[np.ndarray, " classes"],
    classes: Sequence[str],
) -> list[list[str]]:
    """Mean over classes, worst class, then the classes, steepest loss first; none for classes without images."""
    known = np.flatnonzero(n)
    accuracy = right[:, known] / n[known]
    worst = [f"{100 * step.min():.1f} ({classes[known[step.argmin()]]})" for step in accuracy]
    mean = [f"{100 * step.mean():.1f}" for step in accuracy]
    found = [
        ["mean of classes", *mean, f"{100 * slopes[known].mean():+.1f}"],
        ["worst class", *worst, f"{100 * slopes[known].min():+.1f}"],
    ]
    for label in known[np.argsort(slopes[known], kind="stable")][:PRINTED]:
        cells = [_rate(int(step[label]), int(n[label])) for step in right]
        found.append([classes[label], *cells, f"{100 * slopes[label]:+.1f}"])
    return found


def plot(
    steps: Sequence[str],
    right: Int[np.ndarray, "steps classes"],
    n: Int[np.ndarray, " classes"],
    classes: Sequence[str],
) -> str:
    """Accuracy against strength as an SVG: every class in gray, their mean, and the worst at the greatest strength."""
    known = np.flatnonzero(n)
    accuracy = 100 * right[:, known] / n[known]
    worst = accuracy[-1].argmin()
    with matplotlib.rc_context(plots.SVG), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(5.4, 3.0))
        axes = figure.add_axes((0.11, 0.17, 0.85, 0.8))
        x = np.arange(len(steps))
        axes.plot(x, accuracy, color="#c4c7cc", linewidth=1)
        axes.plot(x, accuracy.mean(axis=1), color=plots.COLORS[0], linewidth=2.2, marker="o", label="mean of classes")
        axes.plot(x, accuracy[:, worst], color=plots.COLORS[1], linewidth=1.6, label=classes[known[worst]])
        axes.set_xticks(x, [step.replace(" ", "\n") for step in steps])
        axes.set_ylim(-3, 103)
        axes.set_ylabel("accuracy, %")
        axes.grid(color="#e4e4e4", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        return plots.svg(figure)


def probe_row(
    applied: str,
    trained: str,
    rates: Sequence[tuple[int, int] | None],
    excess: tuple[float, float, float] | None,
) -> list[str]:
    """The cells under `PROBE_HEADERS`; `rates` are (found, of how many), of the member and of the control."""
    cells = [_rate(*rate) if rate else "–" for rate in rates]
    shown = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * value for value in excess)) if excess else "–"
    return [applied, trained, *cells, shown]


def _rate(part: int, whole: int) -> str:
    if not whole:
        return "–"
    low, high = wilson(part, whole)
    return f"{100 * part / whole:.1f} [{100 * low:.0f}, {100 * high:.0f}]"
