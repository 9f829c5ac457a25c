import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from efficient_jax.models import layers


def test_norm_is_linens_with_the_same_variables(key):
    x = 3.0 + 2.0 * jax.random.normal(key, (4, 5, 5, 6))
    peer = nn.BatchNorm(use_running_average=False, momentum=0.8, epsilon=1e-3)
    variables = peer.init(key, x)
    variables["params"] = {"scale": jnp.arange(1.0, 7.0), "bias": jnp.arange(6.0)}
    norm = layers.Norm(None, eps=1e-3, momentum=0.8)
    ours, renewed = norm.apply(variables, x, True, mutable="batch_stats")
    theirs, expected = peer.apply(variables, x, mutable="batch_stats")
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), renewed, expected)
    still = nn.BatchNorm(use_running_average=True, epsilon=1e-3).apply(variables | renewed, x)
    np.testing.assert_allclose(norm.apply(variables | renewed, x, False), still, atol=2e-5)


@pytest.mark.parametrize("layer", [layers.Dropout, layers.StochasticDepth])
def test_without_keys_or_rate_nothing_is_dropped(key, layer):
    x = jnp.ones((4, 3, 3, 2))
    keys = jax.random.split(key, 4)
    assert (layer(0.5).apply({}, x, None) == x).all()
    assert (layer(0.0).apply({}, x, keys) == x).all()


@pytest.mark.parametrize("layer", [layers.Dropout, layers.StochasticDepth])
def test_dropping_keeps_the_mean(key, layer):
    n = 20_000
    y = layer(0.25).apply({}, jnp.ones((n, 1)), jax.random.split(key, n))
    assert set(np.unique(y)) == {np.float32(0.0), np.float32(1 / 0.75)}
    sd = np.sqrt(0.25 / 0.75 / n)
    assert abs(float(y.mean()) - 1.0) < 4 * sd


def test_dropout_draws_for_every_entry_and_stochastic_depth_for_every_example(key):
    x, keys = jnp.ones((64, 8, 8, 2)), jax.random.split(key, 64)
    dropped = layers.Dropout(0.5).apply({}, x, keys).reshape(64, -1)
    gated = layers.StochasticDepth(0.5).apply({}, x, keys).reshape(64, -1)
    assert (dropped.std(axis=1) > 0).all()
    assert (gated.std(axis=1) == 0).all()
    assert 0 < int((gated[:, 0] > 0).sum()) < 64


def test_a_mask_depends_on_its_example_only(key):
    x, keys = jnp.ones((8, 32)), jax.random.split(key, 8)
    together = layers.Dropout(0.5).apply({}, x, keys)
    halves = [layers.Dropout(0.5).apply({}, x[i : i + 4], keys[i : i + 4]) for i in (0, 4)]
    np.testing.assert_array_equal(together, jnp.concatenate(halves))
    assert len(np.unique(together, axis=0)) == 8


class Two(nn.Module):
    @nn.compact
    def __call__(self, x, keys):
        return layers.Dropout(0.5, name="a")(x, keys), layers.Dropout(0.5, name="b")(x, keys)


def test_two_layers_draw_differently_from_the_same_keys(key):
    a, b = Two().apply({}, jnp.ones((4, 64)), jax.random.split(key, 4))
    assert 0.3 < float((a == b).mean()) < 0.7
