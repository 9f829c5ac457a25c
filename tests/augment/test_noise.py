import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from efficient_jax.augment import noise
from efficient_jax.errors import UserError


def drawn(name, n, image, **settings):
    """The results of n keys."""
    run = jax.jit(jax.vmap(lambda key: getattr(noise, name)(key, {"image": image}, **settings)["image"]))
    return np.asarray(run(jax.random.split(jax.random.key(2), n)))


@pytest.fixture(scope="module")
def normal():
    """Noise of 100 gray images."""
    return drawn("gaussian_noise", 100, jnp.full((40, 41, 3), 0.5), std=0.1) - 0.5


def test_normal_noise_is_normal(normal):
    scaled = normal / normal.std(axis=(1, 2, 3), keepdims=True)
    assert np.abs(scaled.mean(axis=(1, 2, 3))).max() < 4.5 / np.sqrt(scaled[0].size)
    assert abs(stats.skew(scaled.ravel())) < 5 * np.sqrt(6 / scaled.size)
    assert abs(stats.kurtosis(scaled.ravel())) < 5 * np.sqrt(24 / scaled.size)
    assert stats.kstest(scaled.ravel(), "norm").statistic < 1.95 / np.sqrt(scaled.size)  # p = 0.001


def test_deviations_are_uniform(normal):
    np.testing.assert_allclose(np.sort(normal.std(axis=(1, 2, 3))), np.linspace(0, 0.1, 100), atol=0.015)


def test_values_are_independent(normal):
    scaled = normal / normal.std(axis=(1, 2, 3), keepdims=True)
    for shift in [(0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 0, 0), (0, 1, 1, 0), (0, 2, 0, 1), (0, 8, 0, 0), (1, 0, 0, 0)]:
        correlation = (scaled * np.roll(scaled, shift, axis=(0, 1, 2, 3))).mean()
        assert abs(correlation) < 5 / np.sqrt(scaled.size), shift


def test_bits_are_fair_and_neighbours_differ_in_half_of_them():
    seed = jnp.array([12345, 67890], jnp.uint32)
    bits = np.asarray(noise.hashed(jnp.arange(1 << 16, dtype=jnp.uint32), seed))
    for word in (bits, bits[1:] ^ bits[:-1], bits[3:] ^ bits[:-3], bits[1024:] ^ bits[:-1024]):
        share = np.unpackbits(word.view(np.uint8)).reshape(-1, 32).mean(axis=0)
        np.testing.assert_allclose(share, 0.5, atol=5 * 0.5 / np.sqrt(len(word)))


def test_uint8_gets_the_noise_of_floats():
    image = np.random.default_rng(0).integers(0, 256, (20, 21, 3), dtype=np.uint8)
    levels = drawn("gaussian_noise", 8, image, std=0.3)
    floats = drawn("gaussian_noise", 8, image / np.float32(255), std=0.3)
    assert np.abs(255 * floats - levels).max() < 0.6


def test_shot_noise_has_a_variance_proportional_to_the_level():
    photons, n = 200, 4096
    level = np.arange(130)
    image = np.broadcast_to(level[:, None, None], (130, n, 1)).astype(np.uint8)
    counted = drawn("shot_noise", 1, image, photons=photons)[0, ..., 0].astype(np.float64)
    assert not counted[0].any()
    counted, rate = counted[1:], level[1:] * photons / 255
    variance = level[1:] * 255 / photons + 1 / 12  # in levels, and that of rounding to them
    assert np.abs((counted.mean(axis=1) - level[1:]) / np.sqrt(variance / n)).max() < 5
    assert np.abs((counted.var(axis=1) / variance - 1) / np.sqrt((2 + 1 / rate) / n)).max() < 5


@pytest.mark.parametrize("level", [51, 153])
def test_few_photons_are_poisson(level):
    image = np.full((100, 100, 3), level, np.uint8)
    counts = np.bincount(drawn("shot_noise", 1, image, photons=5).ravel(), minlength=256)[::51]
    assert counts.sum() == image.size
    expected = stats.poisson.pmf(np.arange(6), level / 51)
    expected[5] = 1 - expected[:5].sum()  # what is over white is white
    np.testing.assert_allclose(counts / image.size, expected, atol=5 * 0.5 / np.sqrt(image.size))


def test_shot_noise_of_floats_is_that_of_levels():
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    levels, floats = (drawn("shot_noise", 4, x) for x in (image, image / np.float32(255)))
    np.testing.assert_array_equal(np.round(255 * floats), levels)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_salt_and_pepper(dtype):
    gray, white = (100, 255) if dtype == np.uint8 else (0.25, 1)
    image = np.full((50, 51, 3), gray, dtype)
    seasoned = drawn("salt_and_pepper", 200, image, amount=0.5)
    assert set(np.unique(seasoned)) == {0, gray, white}
    assert (seasoned == seasoned[..., :1]).all()
    salt, pepper = (seasoned[..., 0] == white).mean(axis=(1, 2)), (seasoned[..., 0] == 0).mean(axis=(1, 2))
    np.testing.assert_allclose(np.sort(salt + pepper), np.linspace(0, 0.5, 200), atol=0.06)
    np.testing.assert_allclose(salt, pepper, atol=5 * np.sqrt(0.5 / (50 * 51)))
    assert abs(salt.mean() - pepper.mean()) < 5 * np.sqrt(0.25 / (200 * 50 * 51))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gaussian_noise", {"std": 1.5}),
        ("shot_noise", {"photons": 0.0}),
        ("shot_noise", {"photons": float("nan")}),
        ("salt_and_pepper", {"amount": -0.1}),
    ],
)
def test_bad_settings_are_refused(key, name, settings):
    with pytest.raises(UserError, match=name):
        getattr(noise, name)(key, {"image": jnp.zeros((4, 4, 1))}, **settings)
