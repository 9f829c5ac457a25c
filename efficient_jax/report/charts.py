"""Charts as numbers and path data, which pieces.html draws as SVG inside the page.

Their text and colors are those of the page: they follow the dark color scheme, wrap nothing, and need no font.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from efficient_jax.metrics.learning_curve import Forecast

CURVE_POINTS = 200
PANEL = (300, 170)  # width and height of a chart, units of its view box: CSS pixels where there is room
LEFT, TOP, RIGHT, BOTTOM = 46, 10, 12, 38  # margins of the plot area
LINE_HEIGHT = 13  # between labels at the ends of lines

Limits = tuple[float, float]


class Shape(NamedTuple):
    """A line or an area."""

    style: str  # class in style.html: "first", "second", "third", "faint" or "area"
    path: str  # SVG path data; "" for a line without points
    label: str = ""  # written at its end
    label_at: tuple[float, float] = (0, 0)
    dots: Sequence[tuple[float, float]] = ()


class Chart(NamedTuple):
    """A plot area with axes."""

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float  # coordinates of the edges of the plot area
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    x_title: str
    y_title: str
    about: str  # what a reader who does not see it should know
    shapes: Sequence[Shape]


class Axes(NamedTuple):
    """A plot area without content: converts values to coordinates."""

    size: tuple[int, int]
    right_margin: float
    x_limits: Limits
    y_limits: Limits

    def at(self, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> list[tuple[float, float]]:
        """Returns the coordinates of points; those that are not finite are left out.

        Args:
            x: horizontal values.
            y: vertical values.
        """
        known = np.isfinite(x) & np.isfinite(y)
        width, height = self.size
        columns = _scaled(x[known], self.x_limits, (LEFT, width - self.right_margin))
        rows = _scaled(y[known], self.y_limits, (height - BOTTOM, TOP))
        return list(zip(columns.round(1).tolist(), rows.round(1).tolist(), strict=True))

    def line(self, style: str, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], label: str = "") -> Shape:
        """Returns a line; a single point is drawn as a dot.

        Args:
            style: class in style.html.
            x: horizontal values, ascending.
            y: vertical values; NaN where there is none.
            label: written at its end.
        """
        points = self.at(x, y)
        end = points[-1] if points else (0.0, 0.0)
        return Shape(style, _path(points), label, (end[0] + 6, end[1] + 4), points if len(points) == 1 else ())

    def chart(
        self,
        shapes: Sequence[Shape],
        x_title: str,
        y_title: str,
        about: str,
        x_ticks: Sequence[tuple[float, str]] = (),
        y_ticks: bool = True,
    ) -> Chart:
        """Returns the chart with ticks at round values.

        Args:
            shapes: what it shows, drawn in this order.
            x_title: what is on the horizontal axis, with its unit.
            y_title: what is on the vertical axis, with its unit.
            about: alternative text.
            x_ticks: (value, text) on the horizontal axis; none: round values.
            y_ticks: whether the vertical axis has numbers.
        """
        width, height = self.size
        right, bottom = width - self.right_margin, height - BOTTOM
        x_values = x_ticks or _round_values(self.x_limits, 4)
        y_values = _round_values(self.y_limits, 5) if y_ticks else []
        return Chart(
            width,
            height,
            LEFT,
            TOP,
            right,
            bottom,
            [(_place(value, self.x_limits, (LEFT, right)), text) for value, text in x_values],
            [(_place(value, self.y_limits, (bottom, TOP)), text) for value, text in y_values],
            x_title,
            y_title,
            about,
            shapes,
        )


def learning_curves(
    curves: Mapping[str, Mapping[str, np.ndarray]], metric: str, title: str, factor: float, tested: Mapping[str, float]
) -> dict[str, Chart]:
    """Draws a metric against steps, one chart for each stage; values in percent all have the same vertical axis.

    Args:
        curves: stage -> its metrics by name, with "step", as `results.read_metrics` returns them.
        metric: name of the metric on training batches; that on validation images begins with "validation_".
        title: what is on the vertical axis, with its unit.
        factor: values are multiplied by it: 100 for percent, or 1.
        tested: stage -> value on test images.

    Returns:
        stage -> its chart; only stages that logged the metric.
    """
    series = {
        stage: {
            style: (smooth(columns["step"][known]), factor * smooth(columns[name][known]))
            for style, name in (("first", metric), ("second", f"validation_{metric}"))
            if name in columns and (known := np.isfinite(columns[name])).any()
        }
        for stage, columns in curves.items()
    }
    drawn = {stage: lines for stage, lines in series.items() if lines}
    if not drawn:
        return {}
    limits = {
        stage: _padded(np.concatenate([*(y for _, y in lines.values()), [factor * tested.get(stage, np.nan)]]))
        for stage, lines in drawn.items()
    }
    if factor == 100:  # losses of different methods are of different kinds
        lowest, highest = np.array(list(limits.values())).T
        limits = dict.fromkeys(drawn, (float(lowest.min()), min(float(highest.max()), 103.0)))
    charts = {}
    for stage, lines in drawn.items():
        last = max(x[-1] for x, _ in lines.values())
        axes = Axes(PANEL, RIGHT, (0.0, last), limits[stage])
        shapes = [axes.line(style, x, y) for style, (x, y) in lines.items()]
        said = [
            f"{'training' if style == 'first' else 'validation'} ends at {y[-1]:.3g}" for style, (_, y) in lines.items()
        ]
        if stage in tested:
            level = np.full(2, factor * tested[stage])
            shapes.append(axes.line("third", np.array([0.0, last]), level))
            said.append(f"test is {level[0]:.3g}")
        charts[stage] = axes.chart(
            shapes, "steps", title, f"{title} of {stage} over {last:,.0f} steps: {', '.join(said)}"
        )
    return charts


def histogram(
    values: Real[np.ndarray, " n"], others: Real[np.ndarray, " m"], title: str, unit: str = "images"
) -> Chart:
    """Draws the distribution of `values` as bars and of `others` as a line, over the middle 99% of both.

    Args:
        values: one or more; NaN and infinity do not count.
        others: may be empty.
        title: what is on the horizontal axis, with its unit.
        unit: what is counted.
    """
    both = np.concatenate([values, others])
    low, high = np.quantile(both[np.isfinite(both)], (0.005, 0.995))
    edges = np.linspace(low, high if high > low else low + 1, 33)
    shares = [100 * np.histogram(of, edges)[0] / max(len(of), 1) for of in (values, others)]
    axes = Axes((380, 165), RIGHT, (edges[0], edges[-1]), (0.0, max(float(np.max(shares)), 1e-9)))
    outlines = [axes.at(edges.repeat(2), np.concatenate([[0], share.repeat(2), [0]])) for share in shares]
    shapes = [Shape("area", _path(outlines[0])), *([Shape("second", _path(outlines[1]))] if len(others) else [])]
    about = f"Histogram of {title}: the middle 99% of the {unit} lie between {low:.3g} and {high:.3g}"
    return axes.chart(shapes, title, f"{unit}, %", about)


def accuracy_by_labels(forecast: Forecast) -> Chart:
    """Draws accuracy against labels: measured points, the fitted curve, dashed beyond the labels there are, its band.

    Args:
        forecast: the learning curve, as `metrics.learning_curve.forecast` returns it.
    """
    now, last = forecast.gains[0].labels, forecast.at[-1]
    x, low, high = np.log2(forecast.at), 100 * forecast.low, 100 * forecast.high
    seen = np.concatenate([low, high, 100 * forecast.accuracy])
    limits = (max(float(seen.min()) - 3, 0.0), min(float(seen.max()) + 3, 100.0))
    axes = Axes((420, 220), RIGHT + 12, (float(x[0]), float(x[-1])), limits)
    band = axes.at(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
    before, after = forecast.at <= 1.0001 * now, forecast.at >= 0.9999 * now
    shapes = [
        Shape("band", _path(band) + "Z"),
        axes.line("first", x[before], 100 * forecast.curve[before]),
        axes.line("third", x[after], 100 * forecast.curve[after]),
        Shape("first", "", dots=axes.at(np.log2(forecast.labels), 100 * forecast.accuracy)),
    ]
    counts = [count for i in range(-4, 3) if forecast.at[0] <= (count := round(now * 2.0**i)) <= 1.0001 * last]
    about = (
        f"Accuracy is {100 * forecast.accuracy[-1]:.0f}% with {forecast.labels[-1]:,} labels; with {last:,.0f} it is "
    )
    about += f"expected to be {100 * forecast.curve[-1]:.0f}% [{low[-1]:.0f}, {high[-1]:.0f}]"
    return axes.chart(
        shapes, "labels", "accuracy, %", about, [(float(np.log2(count)), f"{count:,}") for count in counts]
    )


def strengths(steps: Sequence[str], accuracy: Float[np.ndarray, "steps classes"], classes: Sequence[str]) -> Chart:
    """Draws accuracy against the strength of an operation: each class faintly, their mean, and the worst class.

    Args:
        steps: name of each strength, weak to strong.
        accuracy: of each class at each strength, percent.
        classes: class names.
    """
    worst = int(accuracy[-1].argmin())
    axes = Axes((420, 220), 110, (0.0, max(len(steps) - 1, 1)), (0.0, 100.0))
    x = np.arange(float(len(steps)))
    shapes = [axes.line("faint", x, accuracy[:, k]) for k in range(accuracy.shape[1])]
    named = [axes.line("second", x, accuracy[:, worst], classes[worst])]
    named.append(axes.line("first", x, accuracy.mean(1), "mean of classes"))
    if abs(named[0].label_at[1] - named[1].label_at[1]) < LINE_HEIGHT:
        right, y = named[1].label_at
        named[0] = named[0]._replace(label_at=(right, y + LINE_HEIGHT))
    ticks = [(float(i), name.split()[-1]) for i, name in enumerate(steps)]
    about = f"Mean accuracy of the classes falls from {accuracy[0].mean():.0f}% to {accuracy[-1].mean():.0f}%, that of "
    about += f"{classes[worst]} from {accuracy[0, worst]:.0f}% to {accuracy[-1, worst]:.0f}%"
    return axes.chart([*shapes, *named], "strength, weak to strong", "accuracy, %", about, ticks)


def smooth(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " points"]:
    """Returns means of consecutive values, at most `CURVE_POINTS` of them.

    Args:
        values: one or more.
    """
    return np.array([part.mean() for part in np.array_split(values, min(len(values), CURVE_POINTS))])


def _padded(values: Float[np.ndarray, " n"]) -> Limits:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin if low < 0 else max(low - margin, 0.0), high + margin


def _round_values(limits: Limits, count: int) -> list[tuple[float, str]]:
    """Returns multiples of 1, 2 or 5 times a power of ten, `count` or fewer between two limits, and their texts."""
    rough = (limits[1] - limits[0]) / count
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * rough)
    first, last = np.ceil(limits[0] / step - 1e-9), np.floor(limits[1] / step + 1e-9)
    return [(float(step * k), f"{step * k:,.6g}") for k in range(int(first), int(last) + 1)]


def _scaled(values: Float[np.ndarray, " n"], limits: Limits, ends: Limits) -> Float[np.ndarray, " n"]:
    return ends[0] + (values - limits[0]) / (limits[1] - limits[0]) * (ends[1] - ends[0])


def _place(value: float, limits: Limits, ends: Limits) -> float:
    return round(float(_scaled(np.array([value]), limits, ends)[0]), 1)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if points else ""
