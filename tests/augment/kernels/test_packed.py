import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.augment.kernels import dtypes, loops, packed
from efficient_jax.errors import UserError


def random_image(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_unpack_undoes_pack(channels):
    image = jnp.asarray(random_image(5, 6, channels))
    np.testing.assert_array_equal(packed.unpack(packed.pack(image), channels), image)


def test_too_many_channels():
    with pytest.raises(UserError, match="at most 4"):
        packed.pack(jnp.zeros((4, 4, 5), jnp.uint8))


def test_to_float_and_back_is_exact():
    levels = jnp.arange(256, dtype=jnp.uint8)
    np.testing.assert_allclose(dtypes.to_float(levels), np.arange(256) / 255, rtol=1e-6)
    np.testing.assert_array_equal(dtypes.to_uint8(dtypes.to_float(levels)), levels)


def test_platform_loop_nests_and_broadcasts():
    @loops.platform_loop
    def scaled(x, y):
        return {"sum": x.sum() * y, "x": x}

    x, y = jnp.arange(24.0).reshape(2, 3, 4), jnp.array([1.0, 2.0])
    out = jax.vmap(lambda x, y: jax.vmap(scaled, (0, None))(x, y))(x, y)
    np.testing.assert_array_equal(out["sum"], x.sum(-1) * y[:, None])
    np.testing.assert_array_equal(out["x"], x)
