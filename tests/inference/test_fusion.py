"""Against ensemble-boxes (goldens.npz, written by tests/peers/make_box_goldens.py) and by hand."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from efficient_jax.inference.boxes import nms
from efficient_jax.inference.detections import combine
from efficient_jax.inference.fusion import CONFIDENCES, non_maximum_weighted, weighted_box_fusion
from efficient_jax.types import UserError
from tests.inference import cases

GOLDENS = np.load(Path(__file__).with_name("goldens.npz"))
fusion = partial(weighted_box_fusion, iou=0.55)


def assert_same(ours, boxes, scores, labels):
    """To 1e-6, the best score first; no two scores are equal."""
    theirs = np.argsort(-scores)
    np.testing.assert_allclose(ours["scores"], scores[theirs], atol=1e-6)
    np.testing.assert_allclose(ours["boxes"], boxes[theirs], atol=1e-6, rtol=2e-7)
    np.testing.assert_array_equal(ours["labels"], labels[theirs])


METHODS = {name: partial(weighted_box_fusion, iou=0.55, confidence=name) for name in CONFIDENCES}
METHODS["weighted"] = partial(non_maximum_weighted, iou=0.5)


@pytest.mark.parametrize("method", METHODS)
def test_clusters_are_those_of_ensemble_boxes(method):
    for seed in cases.GOLDEN:
        golden = GOLDENS[f"{seed} {method}"]
        models = cases.image(seed)
        ours = combine(models, METHODS[method], cases.WEIGHTS[len(models)])
        assert len(golden) > 1
        assert_same(ours, golden[:, :4], golden[:, 4], golden[:, 5])


def one(box, score, label=0):
    return {"boxes": np.float32([box]), "scores": np.float32([score]), "labels": np.int32([label])}


A, B = one((0, 0, 100, 200), 0.9), one((20, 0, 100, 200), 0.3)


def test_a_fused_box_by_hand():
    """In pixels; weights 3 and 1 and scores 0.9 and 0.3 make shares of 2.7 and 0.3."""
    found = combine([A, B, B | {"labels": np.int32([1])}], fusion, (3.0, 1.0, 2.0))
    np.testing.assert_allclose(found["boxes"], [(2, 0, 100, 200), (20, 0, 100, 200)], rtol=1e-6)
    # (2.7 + 0.3) / 2 * 2 of 3 models / 6, and 0.6 / 1 * 1 of 3 models / 6
    np.testing.assert_allclose(found["scores"], [0.5, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(found["labels"], [0, 1])


def test_a_weighted_box_by_hand():
    """The overlap is 0.8, so the shares are 0.9 and 0.24; the score is the better box's."""
    found = combine([A, B, A | {"scores": np.float32([0.0])}], METHODS["weighted"])
    np.testing.assert_allclose(found["boxes"], [(20 * 0.24 / 1.14, 0, 100, 200)], rtol=1e-6)
    np.testing.assert_allclose(found["scores"], [0.9], rtol=1e-6)


def test_models_that_agree_change_nothing():
    """Objects apart from each other."""
    boxes = np.float32([(i, 0, i + 8, 10) for i in range(0, 50, 10)])
    model = {"boxes": boxes, "scores": np.linspace(0.9, 0.5, 5, dtype=np.float32), "labels": np.arange(5)}
    same = combine([model] * 3, fusion)
    assert_same(same, model["boxes"], model["scores"], model["labels"])
    absent = {name: values[:0] for name, values in model.items()}
    alone = combine([model, absent, absent], fusion)
    assert_same(alone, model["boxes"], model["scores"] / 3, model["labels"])


def test_boxes_without_score_are_kept_where_they_are():
    found = combine([one((3, 4, 3, 9), 0.0), one((3, 4, 3, 9), 0.0), one((0, 0, 9, 9), 0.0)], fusion)
    np.testing.assert_allclose(found["boxes"], [(3, 4, 3, 9), (3, 4, 3, 9), (0, 0, 9, 9)])


def test_a_cluster_moves():
    """The third box overlaps the first by 0.5 and the mean of the first two by more: fusion takes it, NMS keeps it."""
    first, second, third = (one((x, 0, x + 30, 10), s) for x, s in ((0, 0.9), (6, 0.8), (10, 0.7)))
    assert len(combine([first, second, third], fusion)["scores"]) == 1
    assert len(combine([first, second, third], partial(nms, iou=0.55))["scores"]) == 2


def test_an_unknown_confidence_is_refused():
    with pytest.raises(UserError, match="confidence: 'median' is none of average, box_and_model"):
        combine([A], partial(weighted_box_fusion, confidence="median"))
