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


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(UserError, match=r"^distillation: targets are float32 \[2, 1\], want float \[2, 3\]"):
        losses.distillation(np.zeros((2, 3), np.float32), np.zeros((2, 1), np.float32), 1.0)


def test_standardised_logits_have_mean_0_and_deviation_1(logits):
    found = np.asarray(losses.standardised(7.0 * logits + 3.0))
    np.testing.assert_allclose(found.mean(-1), 0.0, atol=1e-6)
    np.testing.assert_allclose(found.std(-1, ddof=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found, losses.standardised(logits), atol=1e-5)  # size and shift do not matter


def test_equal_logits_have_no_infinite_gradient():
    gradient = jax.jit(jax.grad(lambda z: losses.standardised(z).sum()))(jnp.ones((2, 3)))
    assert np.isfinite(gradient).all()


def test_relation_distances_are_one_less_pearsons_correlation(logits):
    student, teacher = (np.asarray(jax.nn.softmax(z / 2.0), np.float64) for z in logits)
    images, classes = losses.relation_distances(*logits, 2.0)
    np.testing.assert_allclose(
        images, [4 * (1 - np.corrcoef(*rows)[0, 1]) for rows in zip(student, teacher, strict=True)], rtol=1e-4
    )
    np.testing.assert_allclose(
        classes, [4 * (1 - np.corrcoef(*rows)[0, 1]) for rows in zip(student.T, teacher.T, strict=True)], rtol=1e-4
    )


def test_relation_distances_of_the_teacher_itself_are_zero(logits):
    for distances in losses.relation_distances(logits[0], logits[0], 1.0):
        np.testing.assert_allclose(distances, 0.0, atol=1e-5)
