"""Class bias in cells."""

import numpy as np

from efficient_jax.metrics.accuracy import wilson
from efficient_jax.report import bias

CLASSES = ("antelope", "beetle", "cow", "none left")
RIGHT = np.array([[40, 30, 20, 0], [40, 10, 19, 0]])
N = np.array([40, 40, 20, 0])
SLOPES = np.array([0.0, -0.5, -0.05, np.nan])


def test_the_steepest_loss_comes_first_after_mean_and_worst():
    rows = bias.rows(RIGHT, N, SLOPES, CLASSES)
    assert [row[0] for row in rows] == ["mean of classes", "worst class", "beetle", "cow", "antelope"]
    assert rows[0][1:] == ["91.7", "73.3", "-18.3"]
    assert rows[1][1:] == ["75.0 (beetle)", "25.0 (beetle)", "-50.0"]
    low, high = wilson(10, 40)
    assert rows[2][2:] == [f"25.0 [{100 * low:.0f}, {100 * high:.0f}]", "-50.0"]
    assert all(len(row) == len(bias.headers(("none", "some"))) for row in rows)


def test_of_many_classes_those_are_printed_that_lose_most():
    n, slopes = np.full(50, 4), -np.arange(50) / 50
    rows = bias.rows(np.full((2, 50), 4), n, slopes, [str(i) for i in range(50)])
    assert [row[0] for row in rows[2:]] == [str(49 - i) for i in range(bias.PRINTED)]


def test_the_plot_names_the_worst_class_at_the_greatest_strength():
    shapes = bias.plot(("none", "much 1"), RIGHT, N, CLASSES).shapes
    assert [shape.label for shape in shapes if shape.label] == ["beetle", "mean of classes"]
    assert [shape.style for shape in shapes] == [*["faint"] * 3, "second", "first"]


def test_a_probe_without_a_control_has_no_excess():
    cells = bias.probe_row("rotate", "beetle", [(0, 10), (5, 10), None, None], None)
    assert cells[:2] == ["rotate", "beetle"]
    assert cells[2].startswith("0.0 [0, ")
    assert cells[3].startswith("50.0 [")
    assert cells[4:] == ["–", "–", "–"]
    assert bias.probe_row("", "", [(1, 2)] * 4, (0.123, 0.1, 0.15))[-1] == "+12.3 [+10.0, +15.0]"
