"""Which images to label next."""

import numpy as np
import pytest

from efficient_jax.inference import acquisition

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
    np.testing.assert_allclose(acquisition.RANKINGS[ranking](np.array(members)), expected, atol=1e-12)


def test_unlike_images_come_before_copies():
    """Three directions, the surest of each first in none: one of each is chosen before a second of any."""
    features = np.repeat(np.eye(3), [5, 3, 2], axis=0) + 1e-3 * np.random.default_rng(0).random((10, 3))
    scores = np.linspace(1.0, 0.5, 10)
    chosen = acquisition.diverse(features, scores, 3)
    assert chosen[0] == 0
    assert sorted(features[chosen].argmax(1)) == [0, 1, 2]
    assert sorted(acquisition.diverse(features, scores, 99)) == list(range(10))


def test_only_unsure_images_are_looked_at():
    features = np.random.default_rng(0).random((100, 4))
    assert acquisition.diverse(features, np.arange(100.0), 2).min() >= 80
