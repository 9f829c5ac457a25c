from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.augment import cutmix, mixup
from efficient_jax.types import UserError

B = 2000


def black_and_white(n, side, dtype=jnp.float32):
    """Even images are black, odd ones white; a white pixel stands for class 1."""
    odd = jnp.arange(n) % 2
    white = 255 if dtype == jnp.uint8 else 1
    return {
        "image": jnp.broadcast_to((odd * white).astype(dtype)[:, None, None, None], (n, side, side, 1)),
        "label": jax.nn.one_hot(odd, 2),
    }


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
def test_mixup_mixes_labels_as_pixels(key, dtype):
    mixed = mixup(jax.random.split(key, 8), black_and_white(8, 3, dtype), alpha=0.4)
    assert mixed["image"].dtype == jnp.float32
    np.testing.assert_allclose(mixed["image"].mean((1, 2, 3)), mixed["label"][:, 1], atol=1e-6)
    np.testing.assert_allclose(mixed["label"].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_weights_are_beta(key, alpha):
    mixed = jax.jit(partial(mixup, alpha=alpha))(jax.random.split(key, B), black_and_white(B, 1))
    weights = np.where(np.arange(B) % 2, mixed["label"][:, 1], mixed["label"][:, 0])
    assert abs(weights.mean() - 0.5) < 0.04
    assert abs(weights.var() - 1 / (4 * (2 * alpha + 1))) < 0.01
    assert abs(np.corrcoef(weights[::2], weights[1::2])[0, 1]) < 0.1  # partners draw their own


def test_mixup_commutes_with_normalisation(key):
    batch = {"image": jax.random.uniform(key, (4, 3, 3, 3))}
    keys = jax.random.split(key, 4)
    before = mixup(keys, {"image": (batch["image"] - 0.4) / 0.2}, alpha=1.0)["image"]
    after = (mixup(keys, batch, alpha=1.0)["image"] - 0.4) / 0.2
    np.testing.assert_allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
def test_cutmix_label_weight_is_the_fraction_of_pixels(key, dtype):
    mixed = jax.jit(partial(cutmix, alpha=1.0))(jax.random.split(key, 64), black_and_white(64, 8, dtype))
    assert mixed["image"].dtype == dtype
    np.testing.assert_allclose((mixed["image"] > 0).mean((1, 2, 3)), mixed["label"][:, 1], atol=1e-6)


def test_cutmix_pastes_what_the_paper_pastes(key):
    """Mean pasted fraction at alpha = 1 over clipped squares: 77/240 for large pictures."""
    mixed = jax.jit(partial(cutmix, alpha=1.0))(jax.random.split(key, B), black_and_white(B, 64))
    pasted = np.where(np.arange(B) % 2, mixed["label"][:, 0], mixed["label"][:, 1])
    assert abs(pasted.mean() - 77 / 240) < 0.02


def test_cutmix_pixels_come_from_the_two_images(key):
    image = jax.random.uniform(key, (6, 5, 7, 3))
    mixed = np.asarray(cutmix(jax.random.split(key, 6), {"image": image}, alpha=1.0)["image"])
    own, other = np.asarray(image), np.asarray(image)[np.arange(6) ^ 1]
    assert ((mixed == own) | (mixed == other)).all(-1).all()


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_bad_input_is_refused(key, mix):
    with pytest.raises(UserError, match="alpha"):
        mix(jax.random.split(key, 2), black_and_white(2, 3), alpha=0.0)
    with pytest.raises(UserError, match="even number"):
        mix(jax.random.split(key, 3), black_and_white(3, 3), alpha=1.0)
    with pytest.raises(UserError, match="distributions"):
        mix(jax.random.split(key, 2), black_and_white(2, 3) | {"label": jnp.array([0, 1])}, alpha=1.0)
