import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from efficient_jax.augment.policies import augmix
from efficient_jax.augment.policies.augmix import mixing_weights
from efficient_jax.errors import UserError

WHOLE = 4096


@pytest.mark.parametrize(("width", "alpha"), [(3, 1.0), (2, 2.0)])
def test_weights_are_convex_and_of_the_right_law(width, alpha, key):
    weights = np.asarray(jax.jit(jax.vmap(lambda key: mixing_weights(key, width, alpha)))(jax.random.split(key, 4000)))
    assert (weights.sum(1) == WHOLE).all()
    assert (weights >= 0).all()
    kept, chains = weights[:, 0] / WHOLE, weights[:, 1:] / weights[:, 1:].sum(1, keepdims=True).clip(1)
    assert stats.kstest(kept, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    seen = chains[kept < 0.9, 0]  # where rounding to 4096ths does not show
    assert stats.kstest(seen, stats.beta(alpha, alpha * (width - 1)).cdf).pvalue > 1e-3


def random_images(key, n, size=9):
    return jax.random.randint(key, (n, size, size, 3), 0, 256).astype(jnp.uint8)


def test_one_chain_is_a_blend_with_one_sequence(key, monkeypatch):
    """With a chain that inverts, every pixel x becomes x + (1 - m) * (255 - 2 x) with one m for the image."""
    monkeypatch.setattr(augmix, "OPS", ("invert",))
    image = random_images(key, 1)[0]
    run = jax.jit(jax.vmap(lambda key: augmix.augmix(key, {"image": image}, width=1, depth=1)["image"]))
    out = np.asarray(run(jax.random.split(key, 200)), float)
    change = 255 - 2 * np.asarray(image, float)
    share = ((out - np.asarray(image)) * change).sum((1, 2, 3)) / (change**2).sum()
    np.testing.assert_allclose(out, np.asarray(image) + share[:, None, None, None] * change, atol=1)
    assert stats.kstest(share, "uniform").pvalue > 1e-3


def draws(key, **settings):
    keys, settings = jax.random.split(key, 3000), {"width": 2, "depth": 2, "severity": 4.0} | settings
    drawn, amounts = jax.jit(jax.vmap(lambda key: augmix.draw_chains(key, (30, 60), **settings)))(keys)
    return np.asarray(drawn), np.asarray(amounts)


def test_chains_have_one_to_three_operations_or_a_fixed_number(key):
    drawn, _ = draws(key, depth=-1)
    applied = (drawn < len(augmix.OPS)).astype(int)
    assert (np.diff(applied) <= 0).all()  # what is left out comes last
    lengths = applied.sum(-1) - 1
    # Each of the two chains draws its own.
    assert stats.chisquare(np.bincount(3 * lengths[:, 0] + lengths[:, 1], minlength=9)).pvalue > 1e-3
    assert (draws(key, depth=2)[0] < len(augmix.OPS)).all()


def test_operations_and_magnitudes_are_uniform(key):
    drawn, amounts = draws(key)
    assert stats.chisquare(np.bincount(drawn.reshape(-1), minlength=len(augmix.OPS))).pvalue > 1e-3
    angles = amounts[drawn == augmix.OPS.index("rotate")] / 32
    # 0.1 to 4 tenths of 30 degrees, either way, rounded to 256ths of 30.
    assert stats.kstest(np.abs(angles), stats.uniform(0.3, 12 - 0.3).cdf).pvalue > 1e-3
    assert stats.binomtest(int((angles > 0).sum()), len(angles)).pvalue > 1e-3
    assert set(amounts[drawn == augmix.OPS.index("posterize")]) == {2, 3, 4}  # bits
    assert amounts[drawn == augmix.OPS.index("translate_x")].max() == 8  # of 60 / 3
    assert amounts[drawn == augmix.OPS.index("translate_y")].max() == 4


def test_dtypes_and_the_rest_of_the_example(key, monkeypatch):
    monkeypatch.setattr(augmix, "OPS", ("rotate", "equalize"))
    image, keys = random_images(key, 4), jax.random.split(key, 4)
    run = jax.jit(jax.vmap(lambda key, image: augmix.augmix(key, {"image": image, "label": jnp.ones(2)})))
    as_uint8, as_float = run(keys, image), run(keys, image.astype(jnp.float32) / 255)
    assert as_uint8["image"].dtype == jnp.uint8
    np.testing.assert_allclose(as_float["image"], as_uint8["image"].astype(jnp.float32) / 255, atol=1e-6)
    np.testing.assert_array_equal(as_float["label"], 1)
    assert (as_uint8["image"] != image).any((1, 2, 3)).all()


def test_bad_settings_are_refused(key):
    example = {"image": jnp.zeros((4, 4, 3), jnp.uint8)}
    for setting in ({"width": 0}, {"depth": 0}, {"alpha": 0.0}, {"severity": 30.0}):
        with pytest.raises(UserError, match="augmix"):
            augmix.augmix(key, example, **setting)
    with pytest.raises(UserError, match="'mask'"):
        augmix.augmix(key, example | {"mask": jnp.zeros((4, 4), jnp.int32)})
