import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from efficient_jax.augment import kernels
from efficient_jax.types import UserError

warp = jax.jit(kernels.warp, static_argnames="fill")
TILTED = np.array([[0.9, 0.25, 1.3], [-0.2, 1.1, -2.6]], np.float32)


def picture(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def by_scipy(plane, matrix, fill):
    """scipy's affine_transform in (row, column) order, about the centre, blending with the fill."""
    linear = matrix[::-1, [1, 0]].astype(np.float64)
    centre = (np.array(plane.shape) - 1) / 2
    offset = centre + matrix[::-1, 2] - linear @ centre
    return ndimage.affine_transform(
        plane.astype(np.float64), linear, offset, order=1, mode="grid-constant", cval=fill, prefilter=False
    )


@pytest.mark.parametrize("shape", [(28, 28, 1), (20, 31, 3)])
def test_warp_agrees_with_scipy(shape):
    image = picture(*shape)
    expected = np.stack([by_scipy(image[..., i], TILTED, 51) for i in range(shape[2])], -1)
    assert np.abs(np.asarray(warp(image, TILTED, fill=0.2)) - expected).max() < 2
    as_float = warp(image.astype(np.float32) / 255, TILTED, fill=0.2)
    np.testing.assert_allclose(as_float, expected / 255, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 9, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_identity_is_exact(shape, dtype):
    image = picture(*shape).astype(dtype)
    np.testing.assert_array_equal(warp(image, np.eye(2, 3, dtype=np.float32)), image)


def test_far_outside_is_fill():
    far = np.array([[4.0, 0, 1e6], [0, 4.0, -1e6]], np.float32)
    np.testing.assert_array_equal(warp(picture(6, 7, 3), far, fill=1.0), 255)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_unpack_undoes_pack(channels):
    image = jnp.asarray(picture(5, 6, channels))
    np.testing.assert_array_equal(kernels.unpack(kernels.pack(image), channels), image)


def test_too_many_channels():
    with pytest.raises(UserError, match="at most 4"):
        kernels.pack(jnp.zeros((4, 4, 5), jnp.uint8))


def test_to_float_and_back_is_exact():
    levels = jnp.arange(256, dtype=jnp.uint8)
    np.testing.assert_allclose(kernels.to_float(levels), np.arange(256) / 255, rtol=1e-6)
    np.testing.assert_array_equal(kernels.to_uint8(kernels.to_float(levels)), levels)


def test_platform_loop_nests_and_broadcasts():
    @kernels.platform_loop
    def scaled(x, y):
        return {"sum": x.sum() * y, "x": x}

    x, y = jnp.arange(24.0).reshape(2, 3, 4), jnp.array([1.0, 2.0])
    out = jax.vmap(lambda x, y: jax.vmap(scaled, (0, None))(x, y))(x, y)
    np.testing.assert_array_equal(out["sum"], x.sum(-1) * y[:, None])
    np.testing.assert_array_equal(out["x"], x)
