"""Images drawn from fitted Gaussians."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from efficient_jax.data.generated import fit, generate, sample
from efficient_jax.types import UserError


def covariance(model):
    return model.basis.T @ model.basis + model.noise * np.eye(len(model.mean))


def test_the_fit_is_that_of_scikit_learn():
    """Where there are more points than directions; it divides by n - 1."""
    points = np.random.default_rng(0).standard_normal((200, 6)) @ np.diag([3, 2, 1.5, 1, 0.5, 0.1])
    ours, theirs = fit(points, 2), PCA(2).fit(points)
    np.testing.assert_allclose(covariance(ours), theirs.get_covariance() * 199 / 200, atol=1e-10)
    np.testing.assert_allclose(ours.mean, theirs.mean_)


def test_few_points_keep_their_total_variance():
    points = np.random.default_rng(0).standard_normal((4, 50))
    np.testing.assert_allclose(np.trace(covariance(fit(points, 2))), points.var(0).sum())


def test_samples_have_the_moments_of_the_fit():
    rng = np.random.default_rng(0)
    model = fit(rng.standard_normal((30, 5)) * [3, 2, 1, 1, 0.2] + [1, 2, 3, 4, 5], 2)
    drawn = sample(model, 200_000, rng)
    np.testing.assert_allclose(drawn.mean(0), model.mean, atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), covariance(model), atol=0.06)


def test_images_of_each_class_are_near_it():
    labels = np.repeat([0, 1], 5)
    images = np.random.default_rng(0).integers(0, 20, (10, 3, 3, 1)) + 200 * labels[:, None, None, None]
    made, of = generate(images.astype(np.uint8), labels, ("a", "b"), per_class=7, components=2, seed=0)
    assert made.shape == (14, 3, 3, 1)
    assert made.dtype == np.uint8
    assert ((made.mean((1, 2, 3)) > 100) == of).all()
    with pytest.raises(UserError, match=r"class 'b' has 1 labelled images"):
        generate(images[:6].astype(np.uint8), labels[:6], ("a", "b"), per_class=1, components=1, seed=0)
