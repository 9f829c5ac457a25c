import numpy as np

from efficient_jax.data.statistics import mean_std


def test_mean_and_deviation_are_those_of_numpy():
    images = np.random.default_rng(0).integers(0, [40, 200, 256], (7, 5, 6, 3)).astype(np.uint8)
    pixels = images.astype(np.float64) / 255
    mean, std = mean_std(images)
    np.testing.assert_allclose(mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 1, 2)), rtol=1e-12)


def test_a_constant_channel_is_not_blown_up():
    mean, std = mean_std(np.full((2, 3, 3, 1), 51, np.uint8))
    np.testing.assert_allclose(mean, [0.2], rtol=1e-12)
    assert std == (1 / 255,)
