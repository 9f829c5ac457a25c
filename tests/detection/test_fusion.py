"""Against ensemble-boxes (goldens.npz, written by tests/benchmarks/peers/make_box_goldens.py) and by hand."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from efficient_jax.detection.boxes import nms
from efficient_jax.detection.detections import combine
from efficient_jax.detection.fusion import CONFIDENCES, non_maximum_weighted, weighted_box_fusion
from efficient_jax.detection.mean_average_precision import mean_average_precision
from efficient_jax.errors import UserError
from tests.detection import cases

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


def reference(models, weights, threshold, confidence):
    """ensemble-boxes' weighted_boxes_fusion (Solovyev et al., arXiv 1910.13302) written anew in float64 numpy, with
    its `conf_type` for ours: rows of box and score, the best score first."""
    rows = [
        (score * weight, weight, number, label, *box)
        for number, (model, weight) in enumerate(zip(models, weights, strict=True))
        for box, score, label in zip(*(model[name].tolist() for name in ("boxes", "scores", "labels")), strict=True)
    ]
    found = []
    for label in {row[3] for row in rows}:
        clusters, means = [], []
        for row in sorted((np.array(row) for row in rows if row[3] == label), key=lambda row: -row[0]):
            overlaps = cases.overlap(row[4:], np.array(means)) if means else np.zeros(1)
            if overlaps.max() > threshold:
                clusters[overlaps.argmax()].append(row)
                inside = np.array(clusters[overlaps.argmax()])
                means[overlaps.argmax()] = inside[:, 0] @ inside[:, 4:] / inside[:, 0].sum()
            else:
                clusters.append([row])
                means.append(row[4:])
        for inside, mean in zip(map(np.array, clusters), means, strict=True):
            score, w, models_inside = inside[:, 0], inside[:, 1].sum(), np.unique(inside[:, 2]).astype(int)
            present, every = np.array(weights)[models_inside].sum(), sum(weights)
            scores = {
                "average": score.mean() * min(len(weights), len(inside)) / every,
                "box_and_model": score.sum() / w * present / every,
                "absent_aware": score.sum() / (w + every - present),
                "max": score.max() / max(weights),
            }
            found.append([*mean, scores[confidence]])
    return np.array(sorted(found, key=lambda row: -row[4]))


def twice(seed: int) -> list[dict[str, np.ndarray]]:
    """Three models, the first of which finds every object twice."""
    models = cases.models(np.random.default_rng(seed), 3, 12, 2)
    shift = np.random.default_rng(seed + 1).normal(size=models[0]["boxes"].shape).astype(np.float32) * 3e-3
    again = {"boxes": models[0]["boxes"] + shift, "scores": models[0]["scores"] * np.float32(0.97)}
    first = {name: np.concatenate([values, again.get(name, values)]) for name, values in models[0].items()}
    return [first, *models[1:]]


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_scores_are_those_of_ensemble_boxes_but_at_most_one(confidence):
    most = 0.0
    for seed in range(10):
        models, weights = twice(seed), (3.0, 1.0, 0.5)
        expected = reference(models, weights, 0.55, confidence)
        ours = combine(models, METHODS[confidence], weights)
        most = max(most, expected[:, 4].max())
        np.testing.assert_allclose(ours["scores"], np.minimum(expected[:, 4], 1.0), atol=1e-6)
        below = expected[:, 4] < 1.0  # those above are equal here, in the order in which they came
        np.testing.assert_allclose(ours["boxes"][below], expected[below, :4], atol=1e-6)
    assert (most > 1.2) == (confidence == "average")


@pytest.mark.parametrize("method", METHODS)
def test_scores_stay_in_their_range_and_can_be_judged(method):
    """Also where every score is 1 and rounding would lead above it."""
    for seed in range(10):
        models = twice(seed)
        for model in models if seed % 2 else ():
            model["scores"][:] = 1.0
        weights = np.random.default_rng(seed).uniform(0.1, 3.0, 3)
        found = combine(models, METHODS[method], weights.tolist())
        assert (found["scores"] >= 0.0).all()
        assert (found["scores"] <= 1.0).all()
        mean_average_precision([found], [models[1]])  # refuses scores outside of 0..1


def test_two_boxes_of_one_model_are_no_surer_than_certain():
    """The call of the README: (2 * 0.92 + 2 * 0.92) / 2 * 2 of 2 models / 3 is 1.23."""
    model = {"boxes": np.float32([(0, 0, 50, 50), (1, 0, 50, 50)]), "scores": np.float32([0.92] * 2), "labels": [0, 0]}
    found = combine([model, {name: np.array(values)[:0] for name, values in model.items()}], fusion, (2.0, 1.0))
    np.testing.assert_array_equal(found["scores"], [1.0])
    sure = partial(fusion, confidence="box_and_model")
    np.testing.assert_allclose(combine([model, found], sure, (2.0, 1.0))["scores"], [(4 * 0.92 + 1.0) / 5], rtol=1e-6)


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
