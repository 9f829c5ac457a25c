"""Losses per example; the caller reduces, since only it knows the weights and the devices."""

import math

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from efficient_jax.types import UserError


def cross_entropy(
    logits: Float[Array, "*b classes"],
    targets: Float[Array, "*b classes"],
    label_smoothing: float = 0.0,
    weights: Float[Array, "classes"] | float = 1.0,
) -> Float[Array, "*b"]:
    """Cross entropy with target distributions, in nats: -sum over classes of weight x target x log p.

    `label_smoothing` e mixes them with the uniform distribution, (1 - e) y + e / classes
    (arXiv 1512.00567); soft targets too, so leave it at 0.0 where something else has softened them.

    Raises: UserError for targets that are no distributions, such as the indices of classes.
    """
    _check_smoothing(label_smoothing)
    _check_targets("cross_entropy", logits, targets)
    return optax.softmax_cross_entropy(logits, weights * optax.smooth_labels(targets, label_smoothing))


def class_weights(counts: Float[Array, "classes"], beta: float) -> Float[Array, "classes"]:
    """Of classes with so many labelled images: (1 - beta) / (1 - beta^n) (arXiv 1901.05555), scaled so that the mean
    over labelled images is 1, and the loss and its gradient keep their size.

    `beta` 0.0 weighs all alike; near 1.0 it is the inverse of the frequency. A class without images counts as one
    with one.
    """
    if not 0.0 <= beta < 1.0:
        raise UserError(f"class_balance: {beta} is not in 0.0 .. 1.0 (1.0 excluded)")
    log_beta = math.log(beta) if beta else -math.inf
    # 1 - beta is left out, since it cancels; expm1, since beta^n is near 1 where it matters.
    weights = -1.0 / jnp.expm1(jnp.maximum(counts, 1.0) * log_beta)
    return weights * (counts.sum() / (counts * weights).sum())


def sigmoid_cross_entropy(
    logits: Float[Array, "*b classes"], targets: Float[Array, "*b classes"], label_smoothing: float = 0.0
) -> Float[Array, "*b"]:
    """Binary cross entropies of independent labels, their mean over the classes, in nats.

    `label_smoothing` e mixes each target with a coin's, (1 - e) y + e / 2.

    Raises: UserError for targets that are not one number for each class, such as the indices of classes.
    """
    _check_smoothing(label_smoothing)
    _check_targets("sigmoid_cross_entropy", logits, targets)
    smoothed = (1.0 - label_smoothing) * targets + label_smoothing / 2.0
    return optax.sigmoid_binary_cross_entropy(logits, smoothed).mean(-1)


def _check_smoothing(label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(f"label_smoothing: {label_smoothing} is not in 0.0 .. 1.0 (1.0 excluded)")


def _check_targets(name: str, logits: Array, targets: Array) -> None:
    if targets.shape == logits.shape and jnp.issubdtype(targets.dtype, jnp.floating):
        return
    classes = logits.shape[-1]
    shapes = f"targets are {targets.dtype} {list(targets.shape)}, want float {list(logits.shape)}, as the logits"
    how = f"jax.nn.one_hot(targets, {classes})" if targets.shape == logits.shape[:-1] else "targets.astype(float32)"
    raise UserError(f"{name}: {shapes}" + (f": {how}" if jnp.issubdtype(targets.dtype, jnp.integer) else ""))


def distillation(
    student_logits: Float[Array, "*b classes"], teacher_logits: Float[Array, "*b classes"], temperature: float
) -> Float[Array, "*b"]:
    """T^2 KL(teacher || student) of the distributions at temperature T, in nats (arXiv 1503.02531).

    T^2 keeps the gradient's size when T changes. No gradient reaches the teacher.

    Raises: UserError where the teacher's logits are not of the same classes and images.
    """
    _check_targets("distillation", student_logits, teacher_logits)
    student = jax.nn.log_softmax(student_logits / temperature)
    teacher = jax.nn.log_softmax(jax.lax.stop_gradient(teacher_logits) / temperature)
    return temperature**2 * jnp.sum(jnp.exp(teacher) * (teacher - student), axis=-1)


def ensemble(logits: Float[Array, "members *b classes"], temperature: float) -> Float[Array, "*b classes"]:
    """Logits whose probabilities at `temperature` are the mean of the members' (distilled: arXiv 1503.02531)."""
    if len(logits) == 1:
        return logits[0]  # without rounding it twice
    log_p = jax.nn.log_softmax(logits / temperature)
    return temperature * (jax.nn.logsumexp(log_p, axis=0) - math.log(len(logits)))
