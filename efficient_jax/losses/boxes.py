"""Losses of detectors: of classes that are rare, and of boxes."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from efficient_jax.errors import UserError
from efficient_jax.losses.labels import check_targets


def sigmoid_focal(
    logits: Float[Array, "*b classes"], targets: Float[Array, "*b classes"], alpha: float = 0.25, gamma: float = 2.0
) -> Float[Array, " *b"]:
    """Returns the focal loss of independent classes, the sum over classes, in nats (arXiv 1708.02002, equation 5).

    It is the binary cross entropy times (1 - p)^gamma, where p is the probability of the right answer: the many easy
    answers weigh little. A target between 0 and 1 is a mixture of both answers.

    Args:
        logits: of any leading shape.
        targets: probability of each class, in 0..1, in the same shape.
        alpha: weight of the answer 1; that of 0 is 1 - alpha, in 0..1.
        gamma: 0.0 or more; 0.0 is the cross entropy, weighted by alpha.

    Returns: one loss per example.

    Raises: UserError for targets that are not one number per class, and for settings outside their range.
    """
    if not 0.0 <= alpha <= 1.0 or gamma < 0.0:
        raise UserError(f"focal loss: alpha {alpha} is not in 0.0 .. 1.0, or gamma {gamma} is negative")
    check_targets("sigmoid_focal", logits, targets)
    log_p, log_q = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    # exp(gamma log p) instead of p^gamma: the gradient is finite where p is 0 and gamma below 1
    present = -alpha * jnp.exp(gamma * log_q) * log_p
    absent = -(1.0 - alpha) * jnp.exp(gamma * log_p) * log_q
    return jnp.sum(targets * present + (1.0 - targets) * absent, axis=-1)


def quality_focal(logits: Float[Array, "*b classes"], targets: Float[Array, "*b classes"]) -> Float[Array, " *b"]:
    """Returns the quality focal loss of independent classes, the sum over classes, in nats (arXiv 2006.04388, eq. 2).

    It is the binary cross entropy times |p - target|^2: nothing where the probability p is the target, and for targets
    of 0 and 1 the focal loss with gamma 2, not weighted by alpha.

    Args:
        logits: of any leading shape.
        targets: probability of each class, in 0..1, in the same shape.

    Returns: one loss per example.

    Raises: UserError for targets that are not one number per class.
    """
    check_targets("quality_focal", logits, targets)
    far = jnp.square(jax.nn.sigmoid(logits) - targets)
    return jnp.sum(far * optax.sigmoid_binary_cross_entropy(logits, targets), axis=-1)


def generalized_iou(boxes: Float[Array, "*b 4"], targets: Float[Array, "*b 4"]) -> Float[Array, " *b"]:
    """Returns 1 - generalized intersection over union, in 0..2 (arXiv 1902.09630).

    It is 0 for equal boxes, and grows beyond 1 with the distance of boxes that do not touch. An empty box has no IoU
    with any, an equal one included: their loss is 1 or more, and every gradient is finite.

    Args:
        boxes: (left, top, right, bottom) in any unit.
        targets: of the same layout and unit.

    Returns: one loss per box.
    """
    (low, high), (target_low, target_high) = ((box[..., :2], box[..., 2:]) for box in (boxes, targets))
    intersection = _area(jnp.maximum(low, target_low), jnp.minimum(high, target_high))
    hull = _area(jnp.minimum(low, target_low), jnp.maximum(high, target_high))
    union = _area(low, high) + _area(target_low, target_high) - intersection
    return 1.0 - _ratio(intersection, union) + _ratio(hull - union, hull)


def _area(low: Float[Array, "*b 2"], high: Float[Array, "*b 2"]) -> Float[Array, " *b"]:
    """Returns the area between two corners; 0.0 where the second is not below and right of the first."""
    sides = jnp.maximum(high - low, 0.0)
    return sides[..., 0] * sides[..., 1]


def _ratio(part: Float[Array, " *b"], whole: Float[Array, " *b"]) -> Float[Array, " *b"]:
    """Returns part / whole; 0.0 where the whole is 0."""
    return jnp.where(whole > 0.0, part / jnp.where(whole > 0.0, whole, 1.0), 0.0)
