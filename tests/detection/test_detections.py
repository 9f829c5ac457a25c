from functools import partial

import numpy as np
import pytest

from efficient_jax.detection.boxes import nms
from efficient_jax.detection.detections import combine
from efficient_jax.errors import UserError

GOOD = {"boxes": np.float32([(0, 0, 5, 5), (10, 0, 15, 5)]), "scores": np.float32([0.2, 0.7]), "labels": np.arange(2)}
EMPTY = {"boxes": [], "scores": [], "labels": []}
keep = partial(nms, iou=0.5)


def test_models_with_any_number_of_boxes():
    found = combine([EMPTY, GOOD, {name: values[:1] for name, values in GOOD.items()}], keep)
    np.testing.assert_array_equal(found["boxes"], GOOD["boxes"][::-1])
    assert [found[name].dtype for name in found] == [np.float32, np.float32, np.int32]


def test_nothing_found_is_nothing():
    found = combine([EMPTY] * 3, keep)
    assert [found[name].shape for name in ("boxes", "scores", "labels")] == [(0, 4), (0,), (0,)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"boxes": np.zeros((2, 5))}, r"model 1: boxes of shape \(2, 5\); wanted: \[n 4\]"),
        ({"boxes": [(0, 0, 5, 5), (10, 0, 5, 5)]}, r"model 1: box 1 is \[10, 0, 5, 5\]; right < left or bottom < top"),
        ({"boxes": [(0, 0, 5, np.nan), (1, 0, 5, 5)]}, r"model 1: box 0 is \[0.0, 0.0, 5.0, nan\]; wanted: finite"),
        ({"scores": [0.5, 1.5]}, r"model 1: score 1 is 1.5; wanted: 0..1"),
        ({"scores": [np.nan, 0.5]}, r"model 1: score 0 is nan; wanted: 0..1"),
        ({"scores": [0.5]}, r"model 1: 2 boxes, but scores of shape \(1,\)"),
        ({"labels": [1, 2, 3]}, r"model 1: 2 boxes, but labels of shape \(3,\)"),
        ({"labels": [0.5, 1.0]}, r"model 1: labels of type float64; wanted: integers"),
        ({"labels": [2**40, 1]}, r"model 1: labels of type int64; wanted: integers of 32 bits"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(wrong, message):
    with pytest.raises(UserError, match=message):
        combine([GOOD, GOOD | wrong], keep)


def test_models_and_weights_must_be_there():
    with pytest.raises(UserError, match="no models"):
        combine([], keep)
    with pytest.raises(UserError, match="weights: 1 for 2 models; give one for each"):
        combine([GOOD, GOOD], keep, (1.0,))
    with pytest.raises(UserError, match=r"weights: \(1.0, nan\); all must be greater than 0"):
        combine([GOOD, GOOD], keep, (1.0, np.nan))
    with pytest.raises(UserError, match="model 0: no scores and no labels"):
        combine([{"boxes": GOOD["boxes"]}], keep)
