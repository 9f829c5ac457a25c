"""Distances between features that are known in closed form, and planted outliers."""

import numpy as np
import pytest

from efficient_jax.data import feature_distances

RNG = np.random.default_rng(0)


def test_spread_of_two_tight_classes_and_one_wide():
    features = np.array([[0.0], [2], [10], [10], [1], [11]])
    members = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1], [0] * 6], bool).T
    whole = features.std()
    np.testing.assert_allclose(feature_distances.spread(features, members), [1 / whole, 0, 5 / whole, np.nan])


def test_distances_are_mahalanobis_where_all_components_are_kept():
    features = RNG.normal(size=(200, 4)) @ RNG.normal(size=(4, 4)) + 7
    centred = features - features.mean(0)
    inverse = np.linalg.inv(np.cov(features.T, ddof=0))
    expected = np.sqrt((centred @ inverse * centred).sum(1) / 4)
    np.testing.assert_allclose(feature_distances.mahalanobis(features), expected, rtol=1e-6)


def test_planted_outliers_are_found_and_hardly_anything_else():
    features = RNG.normal(size=(1000, 20))
    planted = RNG.choice(1000, 15, replace=False)
    features[planted] *= 4
    found = feature_distances.outliers(feature_distances.mahalanobis(features))
    assert set(planted) <= set(found.tolist())
    assert len(found) <= 15 + 5
    assert set(found[:15].tolist()) == set(planted.tolist())  # the farthest first


@pytest.mark.parametrize("features", [np.zeros((30, 4)), np.eye(3), RNG.normal(size=(2, 5))])
def test_nothing_is_an_outlier_among_equal_or_few_images(features):
    found = feature_distances.mahalanobis(features)
    assert np.isfinite(found).all()
    assert feature_distances.outliers(found).tolist() == []


def test_principal_components_keep_the_distances_of_what_they_span():
    images = RNG.integers(0, 256, (40, 2, 3, 1), np.uint8)
    of = feature_distances.principal(images)
    pixels = images.reshape(40, -1) / 255
    expected = np.linalg.norm(pixels[:20] - pixels[20:], axis=1)
    np.testing.assert_allclose(np.linalg.norm(of(images[:20]) - of(images[20:]), axis=1), expected, rtol=1e-4)


def test_the_nearest_other_image_says_what_a_mirror_does():
    """Of class 0 all are bright on the left, of class 1 on the right: a mirror makes one the other."""
    images = RNG.integers(0, 60, (40, 8, 8, 1), np.uint8)
    labels = np.arange(40) % 2
    images[labels == 0, :, :4] += 150
    images[labels == 1, :, 4:] += 150
    of = feature_distances.principal(images)
    seen = of(images)
    assert feature_distances.nearest_agree(seen, labels, seen).all()
    assert not feature_distances.nearest_agree(seen, labels, of(images[:, :, ::-1])).any()
    assert feature_distances.nearest_agree(seen, labels, of(images[:, ::-1])).all()


def test_no_image_is_its_own_neighbour():
    features = np.array([[0.0], [0], [5], [6]])
    agree = feature_distances.nearest_agree(features, np.array([0, 1, 2, 2]), features)
    assert agree.tolist() == [False, False, True, True]
