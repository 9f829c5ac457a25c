"""How far the predictions of two programs are apart."""

import numpy as np
import pytest

from efficient_jax.detection.rows import NOTHING, apart

ROWS = np.array([[[10, 20, 50, 80, 1, 0.9], [0, 0, 100, 40, 0, 0.5], NOTHING]], np.float32)


def changed(column: int, by: float) -> np.ndarray:
    """The boxes with another number in a column."""
    rows = ROWS.copy()
    rows[:, :2, column] += by
    return rows


@pytest.mark.parametrize(
    ("other", "distance"),
    [
        (ROWS[:, [1, 2, 0]], 0.0),  # boxes of equal scores come in any order
        (changed(2, 2), 2 / 102),  # edges as shares of the largest coordinate
        (changed(5, 0.25), 0.25),
        (changed(4, 3), 3.0),
        (ROWS[:, :1], 1.0),
        (NOTHING[None, None], 2.0),
    ],
)
def test_predictions_are_as_far_apart_as_their_farthest_boxes(other, distance):
    for pair in ((ROWS, other), (other, ROWS)):
        assert apart(*pair) == pytest.approx(distance, rel=1e-5)
    assert apart(other, other) == 0.0
