import functools

import jax
import numpy as np
import pytest

from efficient_jax.detection import boxes
from efficient_jax.errors import UserError
from tests.detection import cases

CASES = cases.tied()
EQUAL = np.ones(cases.MODELS, np.float32)


def each(function, found=CASES, weights=EQUAL):
    """One compiled call for all images; what is valid of each."""
    result = jax.tree.map(np.asarray, jax.jit(jax.vmap(function, (0, None)))(found, weights))
    counts = result["valid"].sum(1)
    assert (result["valid"] == (np.arange(result["valid"].shape[1]) < counts[:, None])).all()
    return [{name: values[i, :n] for name, values in result.items()} for i, n in enumerate(counts)]


def rows(found):
    """The valid boxes of each image as one row."""
    for boxes_, scores, labels, valid in zip(*found.values(), strict=True):
        yield boxes_[valid].astype(np.float64), scores[valid], labels[valid]


def test_overlap_of_boxes_by_hand():
    one = np.array([0.0, 0, 4, 2])[:, None]
    others = np.array([[0.0, 0, 4, 2], [2, 0, 6, 2], [4, 0, 5, 1], [1, 1, 1, 1]]).T
    np.testing.assert_allclose(boxes.intersection_over_union(one, others), [1, 4 / 12, 0, 0])
    assert boxes.intersection_over_union(np.zeros(4), np.zeros(4)) == 0


def test_nms_is_its_definition():
    found = each(functools.partial(boxes.nms, iou=0.5))
    assert sum(len(image["scores"]) for image in found) < 0.8 * CASES["valid"].sum()  # much was suppressed
    for ours, (all_boxes, scores, labels) in zip(found, rows(CASES), strict=True):
        kept = cases.nms(all_boxes, scores, labels, 0.5)
        np.testing.assert_array_equal(ours["boxes"], all_boxes[kept])
        np.testing.assert_array_equal(ours["scores"], scores[kept])
        np.testing.assert_array_equal(ours["labels"], labels[kept])


@pytest.mark.parametrize(
    ("decay", "factor"),
    [("linear", lambda o: np.where(o > 0.3, 1 - o, 1)), ("gaussian", lambda o: np.exp(-(o**2) / 0.5))],
)
def test_soft_nms_is_its_definition(decay, factor):
    untied = CASES | {"scores": np.random.default_rng(2).random(CASES["scores"].shape, np.float32)}
    found = each(functools.partial(boxes.soft_nms, decay=decay, iou=0.3, sigma=0.5, minimum_score=0.05), untied)
    for ours, (all_boxes, scores, labels) in zip(found[:300], rows(untied), strict=False):
        kept = cases.soft_nms(all_boxes, scores, labels, factor, 0.05)
        np.testing.assert_allclose(ours["scores"], list(kept.values()), rtol=1e-5)
        np.testing.assert_array_equal(ours["boxes"], all_boxes[list(kept)])
        np.testing.assert_array_equal(ours["labels"], labels[list(kept)])


def single(all_boxes, scores, labels=None):
    """One model's boxes, all tests' of one size."""
    n = len(scores)
    labels = np.zeros(n) if labels is None else labels
    found = {"boxes": np.float32(all_boxes), "scores": np.float32(scores), "labels": np.int32(labels)}
    found["valid"] = np.ones(n, bool)
    return {name: np.pad(v, [(0, 700 - n)] + [(0, 0)] * (v.ndim - 1))[None] for name, v in found.items()}


def soft_nms(found, decay="gaussian", iou=0.3, sigma=0.5, minimum_score=0.001):
    """Compiled once for each decay, since every argument is given."""
    return only(boxes.soft_nms(found, ONE, decay, iou, sigma, minimum_score))


def nms(found, iou=0.5):
    return only(boxes.nms(found, ONE, iou))


def only(found):
    return {name: np.asarray(values)[np.asarray(found["valid"])] for name, values in found.items()}


ONE = np.ones(1, np.float32)
OVERLAPPING = single([[0, 0, 20, 20], [0, 0, 20, 19], [50, 50, 60, 60]], [0.9, 0.8, 0.7])


@pytest.mark.parametrize(
    ("decay", "lowered"), [("linear", 0.8 * (1 - 0.95)), ("gaussian", 0.8 * np.exp(-(0.95**2) / 0.5))]
)
def test_soft_nms_returns_the_lowered_scores(decay, lowered):
    found = soft_nms(OVERLAPPING, decay)
    np.testing.assert_allclose(found["scores"], [0.9, 0.7, lowered], rtol=1e-5)


@pytest.mark.parametrize(("decay", "values"), [("linear", {"iou": 1.0}), ("gaussian", {"sigma": 1e9})])
def test_soft_nms_that_lowers_nothing_keeps_everything(decay, values):
    found = soft_nms(OVERLAPPING, decay, **values)
    np.testing.assert_allclose(found["scores"], [0.9, 0.8, 0.7])


@pytest.mark.parametrize("function", [nms, soft_nms])
def test_of_equal_scores_the_first_goes_first(function):
    """Also where the label of the later ones is lower."""
    apart = np.arange(5)[:, None] * 10.0 + np.array([0, 0, 5, 5])
    found = function(single(apart, [0.5, 0.5, 0.9, 0.5, 0.5], [2, 1, 0, 1, 0]))
    np.testing.assert_array_equal(found["boxes"][:, 0], [20, 0, 10, 30, 40])


def test_of_equal_scores_the_first_goes_first_in_any_block():
    """The last box, which is compared in another block than the second, overlaps it."""
    apart = np.arange(boxes.LANES + 2)[:, None] * 10.0 + np.array([0, 0, 5, 5])
    apart[-1] = 10, 10, 15, 16
    found = soft_nms(single(apart, np.full(len(apart), 0.5)))
    np.testing.assert_array_equal(found["boxes"], apart)
    assert found["scores"][-1] < 0.5


def test_soft_nms_takes_each_box_once():
    """Of equal boxes the linear decay leaves scores of 0, which a minimum of 0 keeps."""
    found = soft_nms(single([[0, 0, 4, 4]] * 3, [0.7, 0.9, 0.8]), "linear", minimum_score=0.0)
    np.testing.assert_allclose(found["scores"], [0.9, 0.0, 0.0])


def test_soft_nms_of_a_tiny_sigma_is_nms():
    found = soft_nms(OVERLAPPING, sigma=1e-6)
    np.testing.assert_array_equal(found["scores"], nms(OVERLAPPING, 0.0)["scores"])
    assert len(found["scores"]) == 2


def many(n=700, classes=2):
    """More boxes of a class than are compared at once."""
    rng = np.random.default_rng(1)
    (found,) = cases.models(rng, 1, 2 * n, classes)
    return single(*(values[:n] for values in found.values()))


def test_blocks_of_boxes_are_all_compared():
    found = many()
    all_boxes, scores, labels = (found[name][0] for name in ("boxes", "scores", "labels"))
    kept = cases.nms(all_boxes.astype(np.float64), scores, labels, 0.4)
    assert np.bincount(labels[kept]).min() > boxes.LANES
    np.testing.assert_array_equal(nms(found, 0.4)["boxes"], all_boxes[kept])
    kept = cases.soft_nms(all_boxes.astype(np.float64), scores, labels, lambda o: np.exp(-(o**2) / 0.5), 0.05)
    soft = soft_nms(found, minimum_score=0.05)
    np.testing.assert_allclose(soft["scores"], list(kept.values()), rtol=1e-5)
    np.testing.assert_array_equal(soft["boxes"], all_boxes[list(kept)])


def test_nms_again_changes_nothing():
    once = jax.tree.map(np.asarray, boxes.nms(many(), ONE, 0.4))
    again = boxes.nms({name: values[None] for name, values in once.items()}, ONE, 0.4)
    jax.tree.map(np.testing.assert_array_equal, dict(again), once)


def test_the_unit_of_edges_does_not_matter():
    """Powers of two, so that not even rounding differs."""
    found = many()
    far = nms(found | {"boxes": found["boxes"] * 4096}, 0.4)
    np.testing.assert_array_equal(far["boxes"], nms(found, 0.4)["boxes"] * 4096)


def test_a_model_of_half_the_weight_has_half_the_scores():
    found = {name: np.concatenate([values, values])[:, :3] for name, values in OVERLAPPING.items()}
    row = boxes.flat(found, np.float32([4.0, 2.0]))
    np.testing.assert_allclose(row["scores"], [0.9, 0.8, 0.7, 0.45, 0.4, 0.35], rtol=1e-6)


def test_an_unknown_decay_is_refused():
    with pytest.raises(UserError, match="decay: 'cubic' is none of linear, gaussian"):
        boxes.soft_nms(OVERLAPPING, ONE, "cubic")
