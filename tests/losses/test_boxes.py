import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import losses
from efficient_jax.errors import UserError


def focal(z, y, alpha, gamma):
    """Equations 1 to 5 of arXiv 1708.02002."""
    p = 1.0 / (1.0 + np.exp(-z.astype(np.float64)))
    p_t = np.where(y == 1, p, 1 - p)
    return (-np.where(y == 1, alpha, 1 - alpha) * (1 - p_t) ** gamma * np.log(p_t)).sum(-1)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.9, 0.5)])
def test_sigmoid_focal_is_its_definition(key, alpha, gamma):
    z = 3.0 * jax.random.normal(key, (4, 6, 5))
    y = jax.random.bernoulli(jax.random.key(1), 0.3, z.shape).astype(jnp.float32)
    expected = focal(np.asarray(z), np.asarray(y), alpha, gamma)
    np.testing.assert_allclose(losses.sigmoid_focal(z, y, alpha, gamma), expected, rtol=2e-5)


def test_without_focus_it_is_half_of_the_cross_entropy(key):
    z, y = jax.random.normal(key, (7, 5)), jnp.eye(7, 5)
    np.testing.assert_allclose(
        losses.sigmoid_focal(z, y, 0.5, 0.0), 0.5 * 5 * losses.sigmoid_cross_entropy(z, y), rtol=1e-5
    )


def test_a_target_between_the_answers_is_a_mixture_of_their_losses(key):
    z = jax.random.normal(key, (5,))
    both = [losses.sigmoid_focal(z, jnp.full(5, y)) for y in (0.0, 1.0)]
    np.testing.assert_allclose(losses.sigmoid_focal(z, jnp.full(5, 0.3)), 0.7 * both[0] + 0.3 * both[1], rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_and_its_gradient_are_finite_where_the_sigmoid_saturates(gamma):
    z, y = jnp.array([[500.0, -500.0, 500.0, -500.0]]), jnp.array([[1.0, 0.0, 0.0, 1.0]])
    loss, gradient = jax.value_and_grad(lambda z: losses.sigmoid_focal(z, y, gamma=gamma).sum())(z)
    np.testing.assert_allclose(loss, 0.75 * 500 + 0.25 * 500)
    np.testing.assert_allclose(gradient, [[0.0, 0.0, 0.75, -0.25]], atol=1e-6)


def test_focal_settings_and_indices_are_refused():
    with pytest.raises(UserError, match=r"gamma -1\.0 is negative"):
        losses.sigmoid_focal(jnp.zeros(3), jnp.zeros(3), gamma=-1.0)
    with pytest.raises(UserError, match="sigmoid_focal: targets are int32"):
        losses.sigmoid_focal(jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32))


def test_quality_focal_is_its_definition_and_for_indices_the_focal_loss(key):
    z, y = 2.0 * jax.random.normal(key, (6, 5)), jax.random.uniform(jax.random.key(1), (6, 5))
    p, q = 1.0 / (1.0 + np.exp(-np.asarray(z, np.float64))), np.asarray(y, np.float64)
    expected = -((p - q) ** 2 * (q * np.log(p) + (1.0 - q) * np.log(1.0 - p))).sum(-1)
    np.testing.assert_allclose(losses.quality_focal(z, y), expected, rtol=1e-4)
    np.testing.assert_allclose(
        losses.quality_focal(z, y.round()), 2.0 * losses.sigmoid_focal(z, y.round(), 0.5), rtol=1e-4
    )
    value, gradient = jax.value_and_grad(lambda z: losses.quality_focal(z, jax.nn.sigmoid(y)).sum())(y)
    assert value == 0.0
    assert not gradient.any()


def giou(a, b):
    """Algorithm 1 of arXiv 1902.09630, of one pair."""
    a, b = np.float64(a), np.float64(b)
    inner = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner
    hull = np.prod(np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2]))
    return inner / union - (hull - union) / hull


def test_generalized_iou_is_its_definition():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0.0, 50.0, (2, 200, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1.0, 30.0, corners.shape)], -1).astype(np.float32)
    expected = [1.0 - giou(a, b) for a, b in zip(*boxes, strict=True)]
    loss = losses.generalized_iou(*map(jnp.asarray, boxes))
    np.testing.assert_allclose(loss, expected, atol=1e-5)
    assert 0.0 < loss.min() < 0.7  # some overlap
    assert loss.max() > 1.5


def test_generalized_iou_by_hand():
    box = jnp.array([0.0, 0.0, 4.0, 4.0])
    others = jnp.array([[0.0, 0.0, 4.0, 4.0], [4.0, 0.0, 8.0, 4.0], [2.0, 0.0, 6.0, 4.0], [1e6, 1e6, 1e6 + 4, 1e6 + 4]])
    loss = losses.generalized_iou(jnp.broadcast_to(box, others.shape), others)
    # equal; side by side: IoU 0, and the union is the hull; half: IoU 8 / 24; far away
    np.testing.assert_allclose(loss, [0.0, 1.0, 1.0 - 1.0 / 3.0, 2.0], atol=1e-6)


def test_generalized_iou_does_not_depend_on_the_order_or_the_unit(key):
    corners = jax.random.uniform(key, (2, 20, 2))
    a, b = jnp.concatenate([corners, corners + 0.5], -1)
    loss = losses.generalized_iou(a, b)
    np.testing.assert_allclose(losses.generalized_iou(b, a), loss, atol=1e-6)
    np.testing.assert_allclose(losses.generalized_iou(100.0 * a, 100.0 * b), loss, atol=1e-5)


DEGENERATE = {
    "points": ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]),
    "a point in a box": ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]),
    "lines that cross": ([0.0, 1.0, 2.0, 1.0], [1.0, 0.0, 1.0, 2.0]),
    "lines on a line": ([0.0, 1.0, 2.0, 1.0], [3.0, 1.0, 4.0, 1.0]),
    "equal boxes": ([0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_gradients_of_degenerate_boxes_are_finite(name):
    boxes = map(jnp.array, DEGENERATE[name])
    loss, gradients = jax.value_and_grad(losses.generalized_iou, argnums=(0, 1))(*boxes)
    assert 0.0 <= loss <= 2.0
    assert np.isfinite(gradients).all()
