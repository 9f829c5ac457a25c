import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import losses
from efficient_jax.errors import UserError


@pytest.fixture
def logits(key):
    return jax.random.normal(key, (2, 3, 5)) * 3.0  # student and teacher, 3 examples, 5 classes


def test_distillation_is_zero_with_zero_gradient_up_to_a_shift(logits):
    student, teacher = logits[0], logits[0] + 2.5
    loss, gradient = jax.jit(jax.value_and_grad(lambda z: losses.distillation(z, teacher, 4.0).sum()))(student)
    np.testing.assert_allclose(loss, 0.0, atol=1e-5)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-5)


def test_distillation_is_t_squared_kl(logits):
    student, teacher = np.asarray(logits, np.float64)

    def softmax(z):
        return np.exp(z) / np.exp(z).sum(-1, keepdims=True)

    p, q = softmax(teacher / 4.0), softmax(student / 4.0)
    expected = 16.0 * (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(losses.distillation(*logits, 4.0), expected, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gradient_of_distillation_is_t_times_the_difference_of_probabilities(logits, temperature):
    student, teacher = logits
    gradient = jax.jit(jax.grad(lambda z: losses.distillation(z, teacher, temperature).sum()))(student)
    difference = jax.nn.softmax(student / temperature) - jax.nn.softmax(teacher / temperature)
    np.testing.assert_allclose(gradient, temperature * difference, atol=1e-5)


def test_hot_distillation_matches_centred_logits(logits):
    student, teacher = logits
    gradient = jax.jit(jax.grad(lambda z: losses.distillation(z, teacher, 1000.0).sum()))(student)
    student, teacher = (z - z.mean(-1, keepdims=True) for z in (student, teacher))
    np.testing.assert_allclose(gradient, (student - teacher) / 5, atol=5e-3)


def test_the_gradient_norm_is_bounded_in_the_temperature(logits):
    """As for hot ones: without T^2 it would fall with 1 / T^2, to a millionth here."""
    student, teacher = logits
    gradient = jax.jit(jax.grad(lambda z, t: losses.distillation(z, teacher, t).sum()))
    norms = [np.linalg.norm(gradient(student, t)) for t in (1.0, 4.0, 20.0, 1000.0)]
    limit = np.linalg.norm((student - teacher) - (student - teacher).mean(-1, keepdims=True)) / 5
    np.testing.assert_allclose(norms[-1], limit, rtol=0.02)
    assert max(norms) < 2.0 * limit
    assert min(norms) > 0.2 * limit


def test_an_ensemble_has_the_mean_probabilities_at_the_temperature(logits):
    for temperature in (1.0, 4.0):
        found = jax.nn.softmax(losses.ensemble(logits, temperature) / temperature)
        np.testing.assert_allclose(found, jax.nn.softmax(logits / temperature).mean(0), atol=1e-6)


def test_an_ensemble_of_one_is_that_one_up_to_a_shift(logits):
    found = losses.ensemble(logits[:1], 4.0)
    np.testing.assert_allclose(jax.nn.log_softmax(found), jax.nn.log_softmax(logits[0]), atol=1e-5)


def test_an_ensemble_of_sure_members_is_finite():
    found = losses.ensemble(jnp.array([[[500.0, 0.0]], [[0.0, 500.0]]]), 1.0)
    np.testing.assert_allclose(jax.nn.softmax(found), [[0.5, 0.5]], rtol=1e-6)


def test_no_gradient_reaches_the_teacher(logits):
    gradient = jax.jit(jax.grad(lambda z: losses.distillation(logits[0], z, 2.0).sum()))(logits[1])
    np.testing.assert_array_equal(gradient, 0.0)


def test_distillation_is_finite_where_softmax_underflows():
    student, teacher = jnp.array([[500.0, 0.0]]), jnp.array([[0.0, 500.0]])
    np.testing.assert_allclose(losses.distillation(student, teacher, 1.0), [500.0], rtol=1e-6)


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


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(UserError, match=r"^distillation: targets are float32 \[2, 1\], want float \[2, 3\]"):
        losses.distillation(np.zeros((2, 3), np.float32), np.zeros((2, 1), np.float32), 1.0)
