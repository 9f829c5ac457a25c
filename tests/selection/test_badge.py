"""BADGE: k-means++ seeding on gradients that are never computed."""

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.selection.badge import badge

RNG = np.random.default_rng(0)
X, P = RNG.normal(size=(120, 6)), RNG.dirichlet(np.full(4, 0.5), 120)
GRADIENTS = ((P - np.eye(4)[P.argmax(1)])[:, :, None] * X[:, None]).reshape(120, -1)


def test_the_largest_gradient_comes_first():
    assert badge(X, P, 1)[0] == np.linalg.norm(GRADIENTS, axis=1).argmax()


def test_the_second_is_drawn_by_the_squared_distance():
    """Over 4,000 seeds the frequencies are within 5 standard errors of those of the outer products."""
    first = np.linalg.norm(GRADIENTS, axis=1).argmax()
    squared = np.square(GRADIENTS - GRADIENTS[first]).sum(1)
    share = squared / squared.sum()
    counts = np.bincount([badge(X, P, 2, seed=seed)[1] for seed in range(4000)], minlength=120)
    assert (np.abs(counts - 4000 * share) <= 5 * np.sqrt(4000 * share * (1 - share)) + 1e-9).all()


def test_copies_are_chosen_last():
    """Images that the model is sure of have gradients of 0: they are copies of each other."""
    x, p = np.concatenate([X[:5], X[:5], X[5:10]]), np.concatenate([P[:5], P[:5], np.eye(4)[[0, 1, 2, 3, 0]]])
    for seed in range(20):
        chosen = badge(x, p, 15, seed=seed)
        assert sorted(chosen.tolist()) == list(range(15))
        assert len({i % 5 if i < 10 else "sure" for i in chosen[:6].tolist()}) == 6


def test_a_smaller_count_is_a_prefix_and_labelled_images_are_left_out():
    chosen = badge(X, P, 30, [1, 2, 3], 4)
    np.testing.assert_array_equal(chosen[:7], badge(X, P, 7, [1, 2, 3], 4))
    assert len(set(chosen.tolist()) - {1, 2, 3}) == 30
    assert chosen.dtype == np.int32


def test_bad_input_is_one_line():
    with pytest.raises(UserError, match="count: 120 asked, but 119 images are not labelled"):
        badge(X, P, 120, [0])
    with pytest.raises(UserError, match="features: those of 120 images are not finite"):
        badge(X * np.nan, P, 1)
