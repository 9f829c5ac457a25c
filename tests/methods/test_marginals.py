"""Moving averages over classes, alignment by them, and fairness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.methods import marginals
from efficient_jax.training import parallel
from tests.methods.fake import softmax

LOGITS = np.random.default_rng(0).normal(0.0, 2.0, (16, 3)).astype(np.float32)
EVEN = marginals.first(3)
UNEVEN = {name: np.array(p, np.float32) for name, p in (("weak", [0.5, 0.3, 0.2]), ("labelled", [0.2, 0.2, 0.6]))}
on_a_device = {"in_axes": None, "axis_name": parallel.AXIS, "axis_size": 1}


@pytest.mark.parametrize(("alignment", "target"), [("labelled", [0.2, 0.2, 0.6]), ("uniform", [1 / 3] * 3)])
def test_alignment_multiplies_probabilities(alignment, target):
    expected = softmax(LOGITS) * target / UNEVEN["weak"]
    aligned = jax.nn.softmax(marginals.aligned(jnp.asarray(LOGITS), UNEVEN, alignment))
    np.testing.assert_allclose(aligned, expected / expected.sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("alignment", ["", "labelled", "uniform"])
def test_even_marginals_change_nothing(alignment):
    aligned = marginals.aligned(jnp.asarray(LOGITS), EVEN, alignment)
    np.testing.assert_allclose(softmax(aligned), softmax(LOGITS), rtol=1e-6)


def test_debiasing_lowers_the_class_that_is_predicted_often():
    """The mean over classes too, a scalar, would change no probability."""
    shift = softmax(marginals.aligned(jnp.zeros((1, 3)), UNEVEN, "uniform", 0.4))[0]
    np.testing.assert_allclose(shift, UNEVEN["weak"] ** -0.4 / (UNEVEN["weak"] ** -0.4).sum(), rtol=1e-6)
    assert shift[0] < shift[1] < shift[2]


def test_moving_averages_are_those_of_all_devices():
    def step(weak):
        return marginals.renewed(EVEN, weak[:2], weak, 0.75)

    four = jax.jit(jax.vmap(step, axis_name=parallel.AXIS))(LOGITS.reshape(4, 4, 3))
    p = softmax(LOGITS)
    expected = {
        "weak": 0.25 + 0.25 * p.mean(0),
        "labelled": 0.25 + 0.25 * p.reshape(4, 4, 3)[:, :2].mean((0, 1)),
        "predicted": 0.25 + 0.25 * np.bincount(p.argmax(1), minlength=3) / 16,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(four[name], np.tile(values, (4, 1)), rtol=1e-6)


def fairness(logits, weights):
    return jax.vmap(marginals.fairness, **on_a_device)(logits, weights, {**UNEVEN, "predicted": EVEN["predicted"]})[0]


def test_the_gradient_of_fairness_is_its_slope():
    weights = jnp.asarray(np.arange(16) % 4 > 0, jnp.float32)
    direction = np.random.default_rng(1).standard_normal(LOGITS.shape).astype(np.float32)
    slope = jax.jit(lambda h: fairness(LOGITS + h * direction, weights))
    difference = (slope(1e-2) - slope(-1e-2)) / 2e-2
    np.testing.assert_allclose(jax.jit(jax.grad(slope))(0.0), difference, rtol=1e-2)
    assert abs(difference) > 1e-3


def test_where_nothing_is_learned_fairness_has_no_gradient():
    value, gradient = jax.jit(jax.value_and_grad(fairness))(jnp.asarray(LOGITS), jnp.zeros(16))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0.0)
