import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import losses
from efficient_jax.errors import UserError


def one_hot(labels):
    return jax.nn.one_hot(jnp.asarray(labels), 3)  # zeros for 255


def test_dice_is_its_definition(key):
    logits = jax.random.normal(key, (2, 4, 5, 3))
    labels = np.random.default_rng(0).choice([0, 1, 2, 255], (2, 4, 5))
    z = np.asarray(logits, np.float64)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    expected = []
    for image, truth in zip(p, labels, strict=True):
        counted, coefficients = truth != 255, []
        for c in range(3):
            both = image[counted, c][truth[counted] == c].sum()
            coefficients.append((2 * both + 1) / (image[counted, c].sum() + (truth == c).sum() + 1))
        expected.append(1 - np.mean(coefficients))
    np.testing.assert_allclose(losses.dice(logits, one_hot(labels)), expected, rtol=1e-5)


def test_dice_of_the_truth_is_0_and_of_its_opposite_almost_1():
    targets = one_hot(np.arange(32 * 32).reshape(1, 32, 32) % 2)
    np.testing.assert_allclose(losses.dice(50.0 * targets, targets), 0.0, atol=1e-6)
    # two classes have 1 / (1024 + 1); the third is nowhere, so its coefficient is 1
    np.testing.assert_allclose(losses.dice(50.0 * targets[..., [1, 0, 2]], targets), 2 / 3 * 1024 / 1025, rtol=1e-5)


def test_an_image_without_classes_costs_nothing_and_has_no_gradient(key):
    logits = jax.random.normal(key, (1, 4, 4, 3))
    loss, gradient = jax.value_and_grad(lambda z: losses.dice(z, jnp.zeros_like(z)).sum())(logits)
    assert loss == 0.0
    assert not gradient.any()


def test_dice_of_indices_or_without_smoothing_is_refused():
    with pytest.raises(UserError, match="dice: targets are int32"):
        losses.dice(jnp.zeros((1, 2, 2, 3)), jnp.zeros((1, 2, 2), jnp.int32))
    with pytest.raises(UserError, match=r"smooth: 0\.0 is not above"):
        losses.dice(jnp.zeros((1, 2, 2, 3)), jnp.zeros((1, 2, 2, 3)), 0.0)
