import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.augment import cutout
from efficient_jax.types import UserError


def masks(key, side, size, n):
    example = {"image": jnp.ones((side, side, 1))}
    op = jax.jit(jax.vmap(lambda key: cutout(key, example, size=size)["image"][..., 0] == 0))
    return np.asarray(op(jax.random.split(key, n)))


def expected_fraction(side, size):
    """Mean over all centres: rows and columns are clipped independently."""
    start = np.arange(side) - size // 2
    overlap = np.minimum(start + size, side) - np.maximum(start, 0)
    return (overlap.mean() / side) ** 2


@pytest.mark.parametrize(("side", "size"), [(32, 16), (28, 8), (9, 5)])
def test_mean_hidden_fraction(key, side, size):
    hidden = masks(key, side, size, 2000)
    fractions = hidden.mean((1, 2))
    assert abs(fractions.mean() - expected_fraction(side, size)) < 5 * fractions.std() / 2000**0.5


def test_hidden_part_is_one_rectangle_no_larger_than_the_square(key):
    hidden = masks(key, 16, 6, 64)
    rows, columns = hidden.any(2), hidden.any(1)
    np.testing.assert_array_equal(hidden, rows[:, :, None] & columns[:, None])
    assert rows.sum(1).max() == columns.sum(1).max() == 6
    assert rows.sum(1).min() >= 3


def test_every_centre_is_drawn(key):
    assert masks(key, 4, 1, 400).any(0).all()


@pytest.mark.parametrize(("dtype", "value"), [(jnp.uint8, 128), (jnp.float32, 0.5)])
def test_fill_is_a_fraction_of_the_range(key, dtype, value):
    image = cutout(key, {"image": jnp.zeros((6, 6, 3), dtype)}, size=12, fill=0.5)["image"]
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, value)


def test_size_must_be_positive(key):
    with pytest.raises(UserError, match="cutout: size 0"):
        cutout(key, {"image": jnp.zeros((6, 6, 3))}, size=0)
