"""Charts by their coordinates."""

import numpy as np
import pytest

from efficient_jax.metrics import learning_curve
from efficient_jax.report import charts

STEPS = np.array([1.0, 2.0, 3.0])


def points(path):
    return [tuple(map(float, point.split())) for point in path.removeprefix("M").split("L")]


def test_smooth_takes_means_of_stretches():
    values = np.arange(2.0 * charts.CURVE_POINTS)
    np.testing.assert_allclose(charts.smooth(values), values.reshape(-1, 2).mean(axis=1))


def test_a_line_goes_from_corner_to_corner_of_the_plot_area():
    axes = charts.Axes((100, 80), 10, (0.0, 4.0), (1.0, 3.0))
    chart = axes.chart([axes.line("first", np.array([0.0, 4.0]), np.array([1.0, 3.0]))], "x", "y", "")
    assert points(chart.shapes[0].path) == [(chart.left, chart.bottom), (chart.right, chart.top)]
    assert [text for _, text in chart.y_ticks] == ["1", "1.5", "2", "2.5", "3"]
    assert [at for at, _ in chart.x_ticks] == np.linspace(chart.left, chart.right, 5).round(1).tolist()


def test_values_that_are_missing_are_left_out_and_one_point_is_a_dot():
    axes = charts.Axes((100, 80), 10, (0.0, 4.0), (0.0, 4.0))
    assert len(points(axes.line("first", STEPS, np.array([1.0, np.nan, 2.0])).path)) == 2
    alone = axes.line("first", STEPS, np.array([np.nan, 2.0, np.inf]))
    assert len(alone.dots) == 1


def test_stages_share_the_axis_of_accuracy_and_not_that_of_the_loss():
    curves = {
        "a": {"step": STEPS, "accuracy": STEPS / 10, "loss": STEPS},
        "b": {"step": 2 * STEPS, "accuracy": STEPS / 5, "loss": 100 * STEPS},
    }
    accuracy = charts.learning_curves(curves, "accuracy", "accuracy, %", 100, {"b": 0.9})
    assert accuracy["a"].y_ticks == accuracy["b"].y_ticks
    assert len(accuracy["b"].shapes) == 2
    ends = {name: points(chart.shapes[0].path)[-1] for name, chart in accuracy.items()}
    assert ends["a"][1] > ends["b"][1]  # 30% lies below 60%
    loss = charts.learning_curves(curves, "loss", "loss", 1, {})
    assert loss["a"].y_ticks != loss["b"].y_ticks


def test_validation_has_a_line_of_its_own():
    columns = {"step": STEPS, "accuracy": STEPS, "validation_accuracy": np.array([np.nan, np.nan, 2.0])}
    (chart,) = charts.learning_curves({"a": columns}, "accuracy", "", 1, {}).values()
    assert [shape.style for shape in chart.shapes] == ["first", "second"]
    assert len(chart.shapes[1].dots) == 1


def test_no_curve_without_a_number():
    nothing = {"a": {}, "b": {"step": np.ones(1), "loss": np.full(1, np.nan)}}
    assert charts.learning_curves(nothing, "loss", "loss", 1, {}) == {}


@pytest.mark.parametrize("values", [np.array([5.0, 5.0]), np.array([0.0, np.nan, 1.0])])
def test_a_histogram_of_any_values_has_finite_coordinates(values):
    chart = charts.histogram(values, np.zeros(0), "gray level")
    assert len(chart.shapes) == 1
    assert np.isfinite(points(chart.shapes[0].path)).all()


def test_labels_at_the_ends_of_lines_do_not_overlap():
    chart = charts.strengths(("none", "much 1"), np.array([[90.0, 91.0], [50.0, 51.0]]), ("ant", "bee"))
    heights = [shape.label_at[1] for shape in chart.shapes if shape.label]
    assert abs(heights[0] - heights[1]) >= charts.LINE_HEIGHT
    assert [shape.label for shape in chart.shapes if shape.label] == ["ant", "mean of classes"]


def test_the_curve_of_labels_has_its_points_its_band_and_both_axes():
    labels = np.array([20, 40, 80, 160])
    correct = np.random.default_rng(0).random((4, 200)) < np.array([0.5, 0.6, 0.7, 0.75])[:, None]
    forecast = learning_curve.forecast(labels, correct.astype(float))
    chart = charts.accuracy_by_labels(forecast)
    assert (chart.x_title, chart.y_title) == ("labels", "accuracy, %")
    assert [text for _, text in chart.x_ticks] == ["25", "50", "100", "200", "400", "800"]
    band, before, after, points = chart.shapes
    assert [shape.style for shape in chart.shapes] == ["band", "first", "third", "first"]
    assert len(points.dots) == 4
    assert band.path.endswith("Z")
    assert before.path
    assert after.path
    assert "with 160 labels; with 800" in chart.about
