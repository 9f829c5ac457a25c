"""Which images to label next."""

import numpy as np
import pytest

from efficient_jax.selection import uncertainty

SURE, UNSURE = [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("ranking", "members", "expected"),
    [
        ("entropy", [[SURE, UNSURE]], [0.0, np.log(2)]),
        ("entropy", [[[1 / 3] * 3]], [np.log(3)]),
        ("margin", [[SURE, UNSURE, [0.5, 0.2, 0.3]]], [0.0, 1.0, 0.8]),
        ("disagreement", [[SURE, UNSURE]], [0.0, 0.0]),
        ("disagreement", [[SURE, UNSURE], [[0.0, 1.0, 0.0], UNSURE]], [np.log(2), 0.0]),
    ],
)
def test_closed_forms(ranking, members, expected):
    np.testing.assert_allclose(uncertainty.RANKINGS[ranking](np.array(members)), expected, atol=1e-12)


def test_unlike_images_come_before_copies():
    """Three directions, the surest of each first in none: one of each is chosen before a second of any."""
    features = np.repeat(np.eye(3), [5, 3, 2], axis=0) + 1e-3 * np.random.default_rng(0).random((10, 3))
    scores = np.linspace(1.0, 0.5, 10)
    chosen = uncertainty.diverse(features, scores, 3)
    assert chosen[0] == 0
    assert sorted(features[chosen].argmax(1)) == [0, 1, 2]
    assert sorted(uncertainty.diverse(features, scores, 99)) == list(range(10))


def test_no_pick_is_surer_than_an_image_left_out_of_its_cluster():
    """Nor is any more than twice as sure as those that would be chosen without regard to features."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n, count = int(rng.integers(30, 400)), int(rng.integers(1, 30))
        features = rng.normal(size=(n, 6)) + 3 * rng.normal(size=(9, 6))[rng.integers(0, 9, n)]
        features[: n // 5] = features[0]  # copies
        scores = rng.beta(0.3, 1.0, n).round(2)  # most are sure, some equally
        chosen = uncertainty.diverse(features, scores, count)
        assert len(set(chosen.tolist())) == count
        assert (np.diff(scores[chosen]) <= 0).all()
        least = np.sort(scores)[-count] / 2
        assert scores[chosen].min() >= least
        pool = np.flatnonzero(scores >= least)
        pool = pool[np.argsort(-scores[pool], kind="stable")]
        cluster = uncertainty.clusters(features[pool], scores[pool], count)
        taken = np.isin(pool, chosen)
        for number in np.unique(cluster):
            inside = cluster == number
            assert taken[inside].any()
            assert scores[pool[inside & taken]].min() >= scores[pool[inside & ~taken]].max(initial=0.0)


def test_images_that_the_members_are_sure_of_are_left_alone():
    """12 of 60 unsure images near each other, not the 100 outliers of which the members are 95% sure."""
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(100, 32)), 4.0 + 0.1 * rng.normal(size=(60, 32))]).astype(np.float32)
    scores = np.concatenate([rng.uniform(0.05, 0.15, 100), rng.uniform(0.9, 0.98, 60)])
    assert (uncertainty.diverse(features, scores, 12) >= 100).all()


def test_members_that_are_sure_of_everything_leave_the_features_to_choose():
    features = np.repeat(np.eye(3), 4, axis=0)
    assert sorted(uncertainty.diverse(features, np.zeros(12), 3) // 4) == [0, 1, 2]
