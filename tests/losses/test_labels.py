import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import losses
from efficient_jax.errors import UserError


@pytest.fixture
def logits(key):
    return jax.random.normal(key, (2, 3, 5)) * 3.0  # student and teacher, 3 examples, 5 classes


def test_uniform_logits_cost_log_classes_whatever_the_target():
    targets = jnp.array([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    for smoothing in (0.0, 0.1):
        np.testing.assert_allclose(losses.cross_entropy(jnp.zeros((2, 4)), targets, smoothing), np.log(4), rtol=1e-6)


def test_gradient_of_cross_entropy_is_probability_minus_smoothed_target(logits):
    target = jnp.array([0.0, 1.0, 0.0, 0.0, 0.0])
    smoothed = np.array([0.02, 0.92, 0.02, 0.02, 0.02])  # e / K on every class, e = 0.1
    gradient = jax.grad(losses.cross_entropy)(logits[0, 0], target, 0.1)
    np.testing.assert_allclose(gradient, jax.nn.softmax(logits[0, 0]) - smoothed, atol=1e-6)


def test_smoothed_cross_entropy_is_least_at_the_entropy_of_its_target():
    smoothed = np.array([0.025, 0.925, 0.025, 0.025])
    loss = losses.cross_entropy(jnp.log(jnp.array(smoothed, jnp.float32)), jnp.array([0.0, 1.0, 0.0, 0.0]), 0.1)
    np.testing.assert_allclose(loss, -(smoothed * np.log(smoothed)).sum(), rtol=1e-5)


def test_sigmoid_cross_entropy_is_the_mean_over_independent_labels(logits):
    z, y = np.asarray(logits[0], np.float64), np.array([[1, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    p = 1 / (1 + np.exp(-z))
    expected = -np.where(y, np.log(p), np.log(1 - p)).mean(-1)
    np.testing.assert_allclose(
        losses.sigmoid_cross_entropy(logits[0], jnp.asarray(y, jnp.float32)), expected, rtol=1e-5
    )


def test_gradient_of_sigmoid_cross_entropy_is_probability_minus_smoothed_target(logits):
    target = jnp.array([0.0, 1.0, 1.0, 0.0, 0.0])
    smoothed = np.array([0.05, 0.95, 0.95, 0.05, 0.05])  # e / 2 on both answers, e = 0.1
    gradient = jax.grad(losses.sigmoid_cross_entropy)(logits[0, 0], target, 0.1)
    np.testing.assert_allclose(gradient, (jax.nn.sigmoid(logits[0, 0]) - smoothed) / 5, atol=1e-6)


def test_sigmoid_cross_entropy_is_finite_where_the_sigmoid_saturates():
    loss = losses.sigmoid_cross_entropy(jnp.array([500.0, -500.0]), jnp.array([0.0, 0.0]))
    np.testing.assert_allclose(loss, 250.0)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.sigmoid_cross_entropy])
def test_label_smoothing_out_of_range_is_said(logits, loss):
    with pytest.raises(UserError, match=r"label_smoothing: 1\.0 is not in"):
        loss(logits[0], logits[1], 1.0)


COUNTS = np.array([500.0, 40.0, 7.0, 1.0, 100.0], np.float32)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999, 0.99999])
def test_class_weights_are_the_published_ones_with_mean_one(beta):
    effective = (1 - beta) / (1 - beta ** COUNTS.astype(np.float64))
    expected = effective * COUNTS.sum() / (effective * COUNTS).sum()
    found = losses.class_weights(COUNTS, beta)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose((found * COUNTS).sum() / COUNTS.sum(), 1.0, rtol=1e-6)


def test_class_weights_go_from_all_alike_to_the_inverse_frequency():
    np.testing.assert_array_equal(losses.class_weights(COUNTS, 0.0), np.ones(5))
    np.testing.assert_allclose(losses.class_weights(COUNTS, 1 - 1e-9), COUNTS.mean() / COUNTS, rtol=1e-5)


def test_weights_are_those_of_the_classes_within_a_target(logits):
    """Their gradient is p (sum of w y) - w y, the one of numpy in float64; weights of 1 change no bit."""
    targets = jax.nn.softmax(logits[1])
    weights = losses.class_weights(COUNTS, 0.99)
    loss, gradient = jax.value_and_grad(lambda z: losses.cross_entropy(z, targets, 0.1, weights).sum())(logits[0])
    z, w = np.asarray(logits[0], np.float64), np.asarray(weights, np.float64)
    y = w * (0.9 * np.asarray(targets, np.float64) + 0.1 / 5)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    np.testing.assert_allclose(loss, -(y * np.log(p)).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, p * y.sum(-1, keepdims=True) - y, atol=1e-5)
    plain, alike = (losses.cross_entropy(logits[0], targets, 0.1, w) for w in (1.0, losses.class_weights(COUNTS, 0.0)))
    np.testing.assert_array_equal(plain, alike)


@pytest.mark.parametrize("beta", [-0.1, 1.0])
def test_a_class_balance_out_of_range_is_said(beta):
    with pytest.raises(UserError, match=r"class_balance: .* is not in 0\.0 \.\. 1\.0"):
        losses.class_weights(COUNTS, beta)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.sigmoid_cross_entropy])
@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            np.array([0, 2]),
            r"targets are int64 \[2\], want float \[2, 3\], as the logits: jax.nn.one_hot\(targets, 3\)$",
        ),
        (np.eye(3, dtype=np.int32)[:2], r"targets are int32 \[2, 3\], want float .*: targets.astype\(float32\)$"),
        (np.ones((2, 1), np.float32), r"targets are float32 \[2, 1\], want float \[2, 3\], as the logits$"),
        (np.ones(3, np.float32), r"targets are float32 \[3\], want float \[2, 3\], as the logits$"),
    ],
)
def test_targets_that_are_no_distributions_are_refused(loss, targets, message):
    with pytest.raises(UserError, match=rf"^{loss.__name__}: {message}"):
        loss(np.zeros((2, 3), np.float32), targets)


def test_generalized_cross_entropy_is_its_formula(logits):
    target = np.array([1, 0, 4])
    p = np.asarray(jax.nn.softmax(logits[0]), np.float64)[np.arange(3), target]
    found = losses.generalized_cross_entropy(logits[0], jax.nn.one_hot(target, 5), 0.7)
    np.testing.assert_allclose(found, (1 - p**0.7) / 0.7, rtol=1e-5)


def test_generalized_cross_entropy_goes_from_cross_entropy_to_the_absolute_error(logits):
    target = jax.nn.one_hot(np.array([1, 0, 4]), 5)
    p = (jax.nn.softmax(logits[0]) * target).sum(-1)
    np.testing.assert_allclose(losses.generalized_cross_entropy(logits[0], target, 1.0), 1 - p, rtol=1e-5)
    almost = losses.generalized_cross_entropy(logits[0], target, 1e-6)
    np.testing.assert_allclose(almost, losses.cross_entropy(logits[0], target), rtol=1e-4)


@pytest.mark.parametrize("q", [0.0, 1.1])
def test_a_q_out_of_range_is_said(logits, q):
    with pytest.raises(UserError, match=r"^q: .* is not in 0\.0 \.\. 1\.0 \(0\.0 excluded\)"):
        losses.generalized_cross_entropy(logits[0], jax.nn.softmax(logits[1]), q)


def test_the_log_prior_counts_an_absent_class_once():
    np.testing.assert_allclose(losses.log_prior(jnp.array([6.0, 3.0, 0.0])), np.log([0.6, 0.3, 0.1]), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_example_whose_targets_sum_to_a_weight_counts_so_many_times(logits, smoothing):
    targets, weights = jnp.eye(5)[jnp.array([0, 3, 4])], jnp.array([0.25, 0.0, 1.0])
    weighted = losses.cross_entropy(logits[0], weights[:, None] * targets, smoothing)
    np.testing.assert_allclose(weighted, weights * losses.cross_entropy(logits[0], targets, smoothing), rtol=1e-6)
