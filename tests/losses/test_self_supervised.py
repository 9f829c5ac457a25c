"""Losses between views without labels, against closed forms and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from efficient_jax.losses.self_supervised import nt_xent, sigreg

ALL = jnp.arange(4)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_equal_views_of_orthogonal_images_cost_the_closed_form(temperature):
    """Of 4 images the similarity is 1 to the other view, and 0 to the 6 views of other images."""
    losses = nt_xent(3.0 * jnp.eye(4), jnp.eye(4), ALL, temperature)
    np.testing.assert_allclose(losses, np.log(np.exp(1 / temperature) + 6) - 1 / temperature, rtol=1e-5, atol=2e-6)


def test_nt_xent_is_its_definition():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 4, 5))
    z = np.concatenate([first, second])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    s = z @ z.T / 0.2
    np.fill_diagonal(s, -np.inf)
    each = [logsumexp(s[i]) - s[i, (i + 4) % 8] for i in range(8)]
    expected = (np.array(each[:4]) + each[4:]) / 2
    arrays = [jnp.asarray(x, jnp.float32) for x in (first, second)]
    np.testing.assert_allclose(nt_xent(*arrays, ALL, 0.2), expected, rtol=1e-5)
    np.testing.assert_allclose(nt_xent(*arrays, jnp.array([2]), 0.2), expected[2:3], rtol=1e-5)


def test_a_zero_projection_has_a_finite_gradient():
    gradient = jax.jit(jax.grad(lambda z: nt_xent(z, z, ALL, 0.2).sum()))(jnp.zeros((4, 3)))
    assert np.isfinite(gradient).all()


def numpy_sigreg(x, axes):
    """By a fine sum over t in -3..3 instead of 17 knots."""
    t = np.linspace(-3, 3, 2001)
    total = 0.0
    for axis in axes.T:
        mean = np.exp(1j * np.outer(x @ axis, t)).mean(0)
        total += np.trapezoid(np.abs(mean - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2), t)
    return len(x) * total / axes.shape[1]


def test_sigreg_is_the_integral():
    x = np.random.default_rng(0).normal(0.5, 2.0, (30, 4))
    key = jax.random.key(0)
    axes = np.asarray(jax.random.normal(key, (4, 8)), np.float64)
    expected = numpy_sigreg(x, axes / np.linalg.norm(axes, axis=0))
    np.testing.assert_allclose(sigreg(jnp.asarray(x, jnp.float32), key, 8), expected, rtol=1e-3)


def test_normal_projections_are_regular_and_collapsed_ones_are_not():
    """For n normal samples the expectation is the integral of (1 - exp(-t^2)) exp(-t^2 / 2), without n."""
    rng = np.random.default_rng(0)
    run = jax.jit(lambda x: sigreg(x, jax.random.key(0), 256))
    normal = [float(run(jnp.asarray(rng.standard_normal((256, 8)), jnp.float32))) for _ in range(8)]
    t = np.linspace(-3, 3, 2001)
    expected = np.trapezoid((1 - np.exp(-(t**2))) * np.exp(-(t**2) / 2), t)
    np.testing.assert_allclose(np.mean(normal), expected, rtol=0.1)
    assert float(run(jnp.ones((256, 8)))) > 20 * expected
    assert float(run(jnp.asarray(3.0 * rng.standard_normal((256, 8)), jnp.float32))) > 20 * expected


def test_its_gradient_pushes_equal_projections_apart():
    """From a small cloud, steps against the gradient enlarge the deviation."""
    x = 0.1 * jnp.asarray(np.random.default_rng(0).standard_normal((64, 2)), jnp.float32)

    @jax.jit
    def steps(x):
        def one(x, key):
            return x - 0.5 * jax.grad(lambda x: sigreg(x, key, 64))(x), None

        return jax.lax.scan(one, x, jax.random.split(jax.random.key(0), 100))[0]

    assert np.std(steps(x)) > 5 * np.std(x)
