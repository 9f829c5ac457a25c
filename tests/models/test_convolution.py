import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from efficient_jax.models import convolution, pooling
from efficient_jax.models.plain_forms import plain


@pytest.mark.parametrize(
    ("size", "stride", "channels", "pixels"),
    [(3, 1, 1, 7), (3, 1, 3, 6), (3, 2, 3, 6), (3, 2, 4, 7), (5, 2, 2, 8), (1, 1, 8, 5), (1, 2, 8, 6), (1, 2, 8, 7)],
)
def test_both_forms_of_a_convolution_are_equal(key, size, stride, channels, pixels):
    image, weight = jax.random.split(key)
    x = jax.random.normal(image, (2, pixels, pixels + 1, channels))
    kernel = jax.random.normal(weight, (size, size, channels, 5))

    pads = tuple(jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME"))
    plain, matmul = (
        with_gradient(lambda given, form=form: form(*given, stride, pads), (x, kernel))
        for form in (convolution.conv_plain, convolution.conv_matmul)
    )
    np.testing.assert_allclose(plain, matmul, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "pixels", "images"),  # the sum over pixels is of groups of images and halves these: odd and even
    [(3, 1, 6, 1), (3, 2, 6, 3), (3, 2, 7, 12), (5, 1, 4, 11), (5, 2, 9, 4), (5, 2, 8, 1), (7, 1, 6, 3)],
)
def test_both_forms_of_a_depthwise_convolution_are_equal(key, size, stride, pixels, images, symmetric):
    x = jax.random.normal(key, (images, pixels, pixels + 1, 6))
    kernel = jax.random.normal(key, (size, size, 1, 6))
    same = jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME")
    pads = ((size // 2, size // 2),) * 2 if symmetric else tuple(same)
    plain, shifted = (
        with_gradient(lambda given, form=form: form(*given, stride, pads), (x, kernel))
        for form in (convolution.conv_plain, convolution.conv_shifted)
    )
    np.testing.assert_allclose(plain, shifted, rtol=1e-4, atol=1e-4)


def test_symmetric_padding_is_torchs():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    ones = {"params": {"kernel": jnp.ones((3, 3, 1, 1))}}
    found = [
        convolution.Conv(1, stride=2, symmetric=symmetric).apply(ones, x)[0, 0, 0, 0] for symmetric in (True, False)
    ]
    assert found == [0 + 1 + 4 + 5, 0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10]


def test_a_bias_is_added_once():
    variables = {"params": {"kernel": jnp.zeros((1, 1, 2, 3)), "bias": jnp.arange(3.0)}}
    y = convolution.Conv(3, 1, bias=True).apply(variables, jnp.ones((1, 2, 2, 2)))
    np.testing.assert_array_equal(y, jnp.broadcast_to(jnp.arange(3.0), (1, 2, 2, 3)))


@pytest.mark.parametrize(("size", "channels"), [(3, 1), (1, 8), (3, 8)])
def test_conv_is_linens_with_the_same_parameter(key, size, channels):
    x = jax.random.normal(key, (2, 6, 6, channels))
    peer = nn.Conv(4, (size, size), use_bias=False)
    variables = peer.init(key, x)
    np.testing.assert_allclose(convolution.Conv(4, size).apply(variables, x), peer.apply(variables, x), atol=1e-5)


@pytest.mark.parametrize(("h", "w"), [(4, 6), (7, 5)])
def test_max_pool_is_linens(key, h, w):
    ours, peer = (
        with_gradient(pool, jax.random.normal(key, (2, h, w, 3)))
        for pool in (pooling.max_pool, lambda x: nn.max_pool(x, (2, 2), (2, 2), "VALID"))
    )
    np.testing.assert_array_equal(ours, peer)


@pytest.mark.parametrize(
    ("size", "channels", "stride", "groups"), [(3, 1, 1, 1), (3, 3, 2, 1), (5, 2, 1, 1), (3, 8, 1, 1), (3, 4, 1, 4)]
)
@pytest.mark.parametrize(("h", "w"), [(8, 6), (7, 9)])
def test_a_pooled_conv_is_the_pool_of_the_conv(key, size, channels, stride, groups, h, w):
    x = jax.random.normal(key, (2, h, w, channels))
    conv = convolution.Conv(4, size, stride, groups, pooled=True)
    variables = jax.jit(conv.init)(key, x)
    peer = nn.Conv(4, (size, size), stride, use_bias=False, feature_group_count=groups)
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
        with_gradient(pool, x) for pool in (pooling.max_pool, lambda x: x.reshape(2, 3, 2, 4, 2, 3).max((2, 4)))
    )
    np.testing.assert_array_equal(ours, peer)


def with_gradient(f, x):
    """What `f` makes of `x`, and the gradient of the sum of its sines, side by side."""

    @jax.jit
    def run(x):
        y, pull = jax.vjp(f, x)
        return y, pull(jnp.cos(y))

    return np.concatenate([np.asarray(value, np.float32).ravel() for value in jax.tree.leaves(run(x))])


def test_within_plain_every_layer_is_one_operation_of_the_same_values():
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    depthwise = jax.random.normal(jax.random.key(2), (3, 3, 1, 4))

    def network(x):
        x = convolution.convolve_pooled(x, kernel, 1, 1)
        x = convolution.convolve(x, depthwise, 1, None)
        return pooling.max_pool_overlapping(pooling.max_pool(x))

    def plainly(x):
        with plain():
            return network(x)

    operations = [str(eqn.primitive) for eqn in jax.make_jaxpr(plainly)(x).eqns]
    convolved, pooled = "conv_general_dilated", "reduce_window_max"
    assert operations == [convolved, pooled, convolved, pooled, pooled]
    np.testing.assert_allclose(jax.jit(plainly)(x), jax.jit(network)(x), atol=1e-5)
