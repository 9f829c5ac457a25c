"""How uncertain members are of an image."""

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.selection.uncertainty import disagreement, entropy, highest, margin

SURE, UNSURE = [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("score", "members", "expected"),
    [
        (entropy, [[SURE, UNSURE]], [0.0, np.log(2)]),
        (entropy, [[[1 / 3] * 3]], [np.log(3)]),
        (margin, [[SURE, UNSURE, [0.5, 0.2, 0.3]]], [0.0, 1.0, 0.8]),
        (disagreement, [[SURE, UNSURE]], [0.0, 0.0]),
        (disagreement, [[SURE, UNSURE], [[0.0, 1.0, 0.0], UNSURE]], [np.log(2), 0.0]),
    ],
)
def test_closed_forms(score, members, expected):
    np.testing.assert_allclose(score(np.array(members)), expected, atol=1e-12)


def test_the_highest_scores_are_in_order_and_equal_ones_by_index():
    scores = np.array([0.1, 0.9, 0.5, 0.9, 0.7])
    assert highest(scores, 4).tolist() == [1, 3, 4, 2]
    assert highest(scores, 2, labelled=[1]).tolist() == [3, 4]


def test_bad_input_is_one_line():
    with pytest.raises(UserError, match="count: 3 asked, but 2 images are not labelled"):
        highest(np.zeros(4), 3, [0, 1])
    with pytest.raises(UserError, match=r"scores: those of 1 image .* index 2"):
        highest(np.array([0.0, 1.0, np.nan]), 1)
