import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from efficient_jax.models import layers


@pytest.mark.parametrize(
    ("size", "stride", "channels", "pixels"),
    [(3, 1, 1, 7), (3, 1, 3, 6), (3, 2, 3, 6), (3, 2, 4, 7), (5, 2, 2, 8), (1, 1, 8, 5), (1, 2, 8, 6), (1, 2, 8, 7)],
)
def test_both_forms_of_a_convolution_are_equal(key, size, stride, channels, pixels):
    image, weight = jax.random.split(key)
    x = jax.random.normal(image, (2, pixels, pixels + 1, channels))
    kernel = jax.random.normal(weight, (size, size, channels, 5))

    def run(form):
        pads = tuple(jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME"))
        y, pull = jax.vjp(lambda x, k: form(x, k, stride, pads), x, kernel)
        return y, *pull(jnp.cos(y))

    for a, b in zip(run(layers.conv_plain), run(layers.conv_matmul), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "pixels"), [(3, 1, 6), (3, 2, 6), (3, 2, 7), (5, 1, 4), (5, 2, 9), (5, 2, 8)]
)
@pytest.mark.parametrize("images", [1, 3, 4])
def test_both_forms_of_a_depthwise_convolution_are_equal(key, size, stride, pixels, images, symmetric):
    x = jax.random.normal(key, (images, pixels, pixels + 1, 6))
    kernel = jax.random.normal(key, (size, size, 1, 6))
    same = jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME")
    pads = ((size // 2, size // 2),) * 2 if symmetric else tuple(same)

    def run(form):
        y, pull = jax.vjp(lambda x, k: form(x, k, stride, pads), x, kernel)
        return y, *pull(jnp.cos(y))

    for a, b in zip(run(layers.conv_plain), run(layers.conv_shifted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_symmetric_padding_is_torchs():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    ones = {"params": {"kernel": jnp.ones((3, 3, 1, 1))}}
    found = [layers.Conv(1, stride=2, symmetric=symmetric).apply(ones, x)[0, 0, 0, 0] for symmetric in (True, False)]
    assert found == [0 + 1 + 4 + 5, 0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10]


def test_a_bias_is_added_once():
    variables = {"params": {"kernel": jnp.zeros((1, 1, 2, 3)), "bias": jnp.arange(3.0)}}
    y = layers.Conv(3, 1, bias=True).apply(variables, jnp.ones((1, 2, 2, 2)))
    np.testing.assert_array_equal(y, jnp.broadcast_to(jnp.arange(3.0), (1, 2, 2, 3)))


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


@pytest.mark.parametrize(("size", "channels"), [(3, 1), (1, 8), (3, 8)])
def test_conv_is_linens_with_the_same_parameter(key, size, channels):
    x = jax.random.normal(key, (2, 6, 6, channels))
    peer = nn.Conv(4, (size, size), use_bias=False)
    variables = peer.init(key, x)
    np.testing.assert_allclose(layers.Conv(4, size).apply(variables, x), peer.apply(variables, x), atol=1e-5)


@pytest.mark.parametrize(("h", "w"), [(4, 6), (7, 5)])
def test_max_pool_is_linens(key, h, w):
    ours, peer = (
        with_gradient(pool, jax.random.normal(key, (2, h, w, 3)))
        for pool in (layers.max_pool, lambda x: nn.max_pool(x, (2, 2), (2, 2), "VALID"))
    )
    np.testing.assert_array_equal(ours, peer)


@pytest.mark.parametrize(("size", "channels", "stride"), [(3, 1, 1), (3, 3, 2), (5, 2, 1), (3, 8, 1)])
@pytest.mark.parametrize(("h", "w"), [(8, 6), (7, 9)])
def test_a_pooled_conv_is_the_pool_of_the_conv(key, size, channels, stride, h, w):
    x = jax.random.normal(key, (2, h, w, channels))
    conv = layers.Conv(4, size, stride, pooled=True)
    variables = conv.init(key, x)
    peer = nn.Conv(4, (size, size), stride, use_bias=False)
    ours, theirs = (
        with_gradient(both, (variables["params"], x))
        for both in (
            lambda given: conv.apply({"params": given[0]}, given[1]),
            lambda given: nn.max_pool(peer.apply({"params": given[0]}, given[1]), (2, 2), (2, 2)),
        )
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_equal_pixels_share_the_gradient_of_max_pool(key, dtype):
    """As jax's maximum over axes has it."""
    x = jax.random.randint(key, (2, 6, 8, 3), 0, 3).astype(dtype)
    ours, peer = (
        with_gradient(pool, x) for pool in (layers.max_pool, lambda x: x.reshape(2, 3, 2, 4, 2, 3).max((2, 4)))
    )
    np.testing.assert_array_equal(ours, peer)


def with_gradient(pool, x):
    y, pull = jax.vjp(pool, x)
    values = jax.tree.leaves((y, pull(jnp.cos(y))))
    return np.concatenate([np.asarray(value, np.float32).ravel() for value in values])


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
