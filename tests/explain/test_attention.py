"""Rollout against its closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.explain import attention, evidence, heat_maps
from efficient_jax.models import dense, vit

N = 5
UNIFORM, IDENTITY = jnp.full((2, 3, N, N), 1 / N), jnp.broadcast_to(jnp.eye(N), (2, 3, N, N))


def drawn(seed, layers=3):
    keys = jax.random.split(jax.random.key(seed), layers)
    return [jax.nn.softmax(2 * jax.random.normal(key, (2, 3, N, N))) for key in keys]


@pytest.mark.parametrize("layers", [1, 2, 6])
def test_uniform_attention_has_a_closed_form(layers):
    kept = 0.5**layers
    expected = (1 - kept) / N + kept * np.eye(N)
    np.testing.assert_allclose(attention.rollout([UNIFORM] * layers), np.stack([expected] * 2), atol=1e-6)


def test_who_looks_at_himself_stays():
    np.testing.assert_array_equal(attention.rollout([IDENTITY] * 4), IDENTITY[:, 0])


def test_rows_sum_to_1_and_the_last_layer_is_on_the_left():
    layers = drawn(0)
    found = attention.rollout(layers)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    a, b, c = (np.asarray(layer).mean(1) / 2 + np.eye(N) / 2 for layer in layers)
    np.testing.assert_allclose(found, c @ b @ a, atol=1e-5)
    assert np.abs(found - a @ b @ c).max() > 1e-2


def test_tokens_in_another_order_have_the_same_rollout_in_that_order():
    order = np.array([3, 0, 4, 1, 2])
    moved = [layer[:, :, order][..., order] for layer in drawn(1)]
    np.testing.assert_allclose(attention.rollout(moved), attention.rollout(drawn(1))[:, order][..., order], atol=1e-6)


def test_the_class_token_looks_or_all_together():
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 7, 7)))
    np.testing.assert_array_equal(attention.over_patches(weights, (4, 6)), weights[:, 0, 1:].reshape(2, 2, 3))
    all_patches = weights[:, 1:, 1:]
    np.testing.assert_allclose(
        attention.over_patches(all_patches, (4, 6)), all_patches.mean(1).reshape(2, 2, 3), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [
        (197, (224, 224), (14, 14)),
        (196, (224, 224), (14, 14)),
        (9, (8, 16), (2, 4)),
        (2, (8, 8), (1, 1)),
        (1, (8, 8), (1, 1)),
    ],
)
def test_the_grid_follows_from_the_number_of_tokens(tokens, size, grid):
    assert attention.grid(tokens, size) == grid


def test_tokens_that_are_no_patches_are_said():
    with pytest.raises(UserError, match="199 tokens are not the square patches of an image of 224 x 224"):
        attention.grid(199, (224, 224))
    with pytest.raises(UserError, match="this network has no attention"):
        attention.weights({"stage1": jnp.zeros(1)})


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_a_vit_has_both_maps(pool, monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", (24, 2, 3))
    module = models.MODELS["vit"](classes=3, variant="tiny/16", pool=pool, class_token=pool == "token")
    apply = models.make_apply(module, (0.5,) * 3, (0.5,) * 3)
    images = np.zeros((2, 32, 48, 3), np.uint8)

    def maps(key):
        variables = models.init(module, key, images.shape[1:])
        return heat_maps(lambda x: apply(variables, x, False, None)[0], images, np.zeros(2, int))

    found = jax.eval_shape(maps, jax.random.key(0))
    assert {name: each.shape for name, each in found.items()} == dict.fromkeys(("last attention", "rollout"), (2, 2, 3))


def test_a_vit_with_a_decoder_of_masks_has_the_same_maps(monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", (24, 2, 3))
    module = dense.dense_masks(models.MODELS["vit"](classes=0, variant="tiny/16"), 3, width=8)
    apply = models.make_apply(module, (0.5,) * 3, (0.5,) * 3)
    images = np.zeros((2, 32, 48, 3), np.uint8)

    def maps(key):
        variables = models.init(module, key, images.shape[1:])
        return heat_maps(
            lambda x: apply(variables, x, False, None)[0], images, np.zeros(2, int), evidence=evidence.of_pixels
        )

    found = jax.eval_shape(maps, jax.random.key(0))
    assert {name: each.shape for name, each in found.items()} == dict.fromkeys(("last attention", "rollout"), (2, 2, 3))
