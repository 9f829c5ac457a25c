"""Position embeddings on other grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from efficient_jax.errors import UserError
from efficient_jax.models import positions

CLASSES, SIDE = 5, 16


@pytest.mark.parametrize(("side", "grid", "prefix"), [(4, (9, 6), 1), (7, (3, 5), 1), (4, (4, 7), 0)])
def test_position_embeddings_are_resampled_as_pillow_does(key, side, grid, prefix):
    table = jax.random.normal(key, (1, prefix + side * side, 2))
    resampled = positions.resample_pos_embed(table, grid, prefix)
    np.testing.assert_array_equal(resampled[:, :prefix], table[:, :prefix])
    for channel in range(2):
        image = Image.fromarray(np.asarray(table[0, prefix:, channel]).reshape(side, side))
        expected = image.resize(grid[::-1], Image.Resampling.BICUBIC)
        np.testing.assert_allclose(resampled[0, prefix:, channel].reshape(grid), np.asarray(expected), atol=1e-5)


def test_a_position_embedding_of_the_same_grid_stays(key):
    table = jax.random.normal(key, (1, 50, 3))
    np.testing.assert_array_equal(positions.resample_pos_embed(table, (7, 7)), table)


def test_positions_that_are_no_square_grid_are_refused():
    with pytest.raises(UserError, match="15 positions after 1"):
        positions.resample_pos_embed(jnp.zeros((1, 16, 2)), (3, 3))
