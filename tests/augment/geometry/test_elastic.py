import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from efficient_jax.augment.geometry import elastic
from efficient_jax.errors import UserError

RAMPS = np.stack(np.mgrid[:40, :50][::-1], -1).astype(np.float32) / 50  # (x, y): shows where a pixel looks


def looked(op, key, n=16, **settings):
    run = jax.jit(jax.vmap(lambda k: op(k, {"image": jnp.asarray(RAMPS)}, **settings)["image"]))
    return np.asarray(run(jax.random.split(key, n))) * 50


def test_elastic_displacements_are_smooth_and_as_large_as_said(key):
    moved = (looked(elastic.elastic, key, alpha=30.0, sigma=4.0) - RAMPS * 50)[:, 12:-12, 12:-12]
    assert moved.std() == pytest.approx(30 / (np.sqrt(12 * np.pi) * 4), rel=0.25)
    neighbours = np.corrcoef(moved[:, 1:].ravel(), moved[:, :-1].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * 4**2)), abs=0.01)


def test_elastic_field_is_scipys_blur(key):
    noise = np.asarray(jax.random.uniform(key, (2, 40, 50), minval=-1.0), np.float64)
    x, y = jax.jit(lambda k: elastic.random_bending(k, (40, 50), alpha=2.0, sigma=3.0)[0])(key)
    down, across = np.mgrid[:40, :50]
    blurred = [ndimage.gaussian_filter(plane, 3.0, mode="constant", truncate=8.0) for plane in noise]
    np.testing.assert_allclose([np.asarray(x) - across, np.asarray(y) - down], 2 * np.array(blurred), atol=1e-5)


def test_grid_cells_are_stretched_and_nothing_leaves(key):
    seen = looked(elastic.grid_distortion, key, steps=5, limit=0.4)
    across = seen[:, 20, :, 0]
    assert (np.diff(across) > 0).all()
    steps = np.diff(across)[:, 1:-1]
    factors = steps[:, [4, 14, 24, 34, 44]]  # one in the middle of each of the five columns
    assert (factors > 0.6 / 1.4).all()
    assert (factors < 1.4 / 0.6).all()
    np.testing.assert_allclose(factors.mean(1), 1, atol=0.02)
    assert (across[:, 0] < 0.5).all()
    assert (across[:, -1] > 48.5).all()


def test_no_distortion_is_the_identity(key):
    np.testing.assert_allclose(looked(elastic.grid_distortion, key, 1, limit=0.0)[0], RAMPS * 50, atol=1e-2)
    np.testing.assert_allclose(looked(elastic.elastic, key, 1, alpha=0.0)[0], RAMPS * 50, atol=1e-2)


def test_bad_settings_are_refused(key):
    with pytest.raises(UserError, match="sigma"):
        elastic.elastic(key, {"image": jnp.asarray(RAMPS)}, sigma=0.0)
    with pytest.raises(UserError, match="steps"):
        elastic.grid_distortion(key, {"image": jnp.asarray(RAMPS)}, steps=0)
