"""Correlations of ranks are scipy's, points are where they are planted."""

import jax
import numpy as np
from scipy.stats import spearmanr

from efficient_jax.explain import trust

MAPS = np.random.default_rng(0).random((4, 5, 6)).round(1)  # with ties


def test_rank_correlations_are_scipys():
    others = np.random.default_rng(1).random(MAPS.shape).round(1)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(MAPS, others, strict=True)]
    np.testing.assert_allclose(trust.rank_correlations(MAPS, others), expected, atol=1e-12)
    np.testing.assert_allclose(trust.rank_correlations(MAPS, np.exp(MAPS)), 1)
    assert np.isnan(trust.rank_correlations(MAPS, MAPS * 0)).all()


def test_each_map_is_stretched_by_itself():
    maps = np.array([[[0.0, 1.0], [2.0, 4.0]], [[5.0, 5.0], [5.0, 5.0]], [[0.0, 0.0], [0.0, 1e-6]]], np.float32)
    found = np.asarray(trust.enlarged(maps, (2, 2)))
    np.testing.assert_allclose(found, [[[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]], [[0, 0], [0, 1]]], atol=1e-6)
    large = np.asarray(trust.enlarged(maps, (8, 8)))
    assert large[0, 0, 0] == 0
    assert large[0, 7, 7] == 1
    np.testing.assert_allclose(large[0, 0, 3:5].sum(), 0.25, atol=1e-6)  # half way between 0 and 0.25, on both sides


def test_the_peak_is_the_centre_of_the_first_brightest_pixel():
    maps = np.zeros((2, 4, 8))
    maps[0, 3, 1], maps[1, 0, 2], maps[1, 1, 1] = 1, 1, 1
    np.testing.assert_array_equal(trust.peaks(maps), [[1.5 / 8, 3.5 / 4], [2.5 / 8, 0.5 / 4]])


def test_objects_are_pixels():
    boxes = np.array([[[0, 0, 1, 1], [2.4, 1, 4, 2.6]], [[0, 0, 4, 3], [1, 1, 2, 2]]], np.float32)
    visible = np.array([[1.0, 0.5], [0.0, 1.0]])
    found = trust.targets({"boxes": boxes, "box_visible": visible}, (3, 4))
    np.testing.assert_array_equal(found[0], [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    np.testing.assert_array_equal(found[1], [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    mask = np.arange(12).reshape(1, 3, 4) % 3
    np.testing.assert_array_equal(trust.targets({"mask": mask, "boxes": boxes}, (3, 4)), mask > 0)


def test_points_in_shares_hit_pixels():
    targets = np.zeros((3, 3, 4), bool)
    targets[:, 2, 3] = True
    points = np.array([[1.0, 1.0], [0.76, 0.67], [0.74, 0.67]])
    assert trust.pointing_game(points, targets).tolist() == [True, True, False]


def test_only_the_layers_that_are_named_are_random():
    trained = {"params": {"a": {"k": 0}, "head": {"k": 0}}, "batch_stats": {"a": {"mean": 0}, "b": {"mean": 0}}}
    drawn = {"params": {"a": {"k": 1}, "head": {"k": 1}}, "batch_stats": {"a": {"mean": 1}, "b": {"mean": 1}}}
    trained, drawn = jax.tree.map(np.int32, (trained, drawn))
    found = trust.randomised(trained, drawn, ("head/.*", "b/.*|c/.*"))
    assert found == {"params": {"a": {"k": 0}, "head": {"k": 1}}, "batch_stats": {"a": {"mean": 0}, "b": {"mean": 1}}}
