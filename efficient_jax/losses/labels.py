"""Losses between logits and labels or a teacher's logits, one per example.

The caller reduces, since only it knows the weights and the devices.
"""

import math

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from efficient_jax.errors import UserError


def cross_entropy(
    logits: Float[Array, "*b classes"],
    targets: Float[Array, "*b classes"],
    label_smoothing: float = 0.0,
    weights: Float[Array, " classes"] | float = 1.0,
) -> Float[Array, " *b"]:
    """Returns the cross entropy with target distributions, in nats: -sum over classes of weight x target x log p.

    Args:
        logits: of any leading shape.
        targets: distributions over the classes, in the same shape.
        label_smoothing: e in 0..1 (1 excluded): targets y become (1 - e) y + e / classes (arXiv 1512.00567). Soft
            targets are smoothed too: leave it at 0.0 where something else has softened them.
        weights: factor of each class, 0 or more, or one for all.

    Returns: one loss per example.

    Raises: UserError for targets that are not distributions, such as class indices, and for a `label_smoothing`
        outside its range.
    """
    _check_smoothing(label_smoothing)
    _check_targets("cross_entropy", logits, targets)
    losses: Array = optax.softmax_cross_entropy(logits, weights * optax.smooth_labels(targets, label_smoothing))
    return losses


def class_weights(counts: Float[Array, " classes"], beta: float) -> Float[Array, " classes"]:
    """Returns class weights (1 - beta) / (1 - beta^n) by the effective number of images (arXiv 1901.05555).

    They are scaled to a mean of 1 over the labelled images, so that the loss and its gradient keep their size.

    Args:
        counts: labelled images n of each class. A class without images counts as one with 1.
        beta: in 0..1 (1 excluded). 0.0 gives equal weights; near 1.0 they are the inverse of the frequency.

    Returns: one weight per class.

    Raises: UserError for a `beta` outside its range.
    """
    if not 0.0 <= beta < 1.0:
        raise UserError(f"class_balance: {beta} is not in 0.0 .. 1.0 (1.0 excluded)")
    log_beta = math.log(beta) if beta else -math.inf
    # The factor 1 - beta cancels in the scaling. expm1, since 1 - beta^n loses digits where beta^n is near 1.
    weights = -1.0 / jnp.expm1(jnp.maximum(counts, 1.0) * log_beta)
    return weights * (counts.sum() / (counts * weights).sum())


def log_prior(counts: Float[Array, " classes"]) -> Float[Array, " classes"]:
    """Returns the logarithm of each class's share of the labelled images.

    Added to the logits in a cross-entropy, it makes the network learn logits for equally frequent classes (arXiv
    2007.07314, equation 10); subtracted from the logits of a trained network, it does so afterwards (equation 9).

    Args:
        counts: labelled images of each class. A class without images counts as one with 1.
    """
    counts = jnp.maximum(counts, 1.0)
    return jnp.log(counts / counts.sum())


def sigmoid_cross_entropy(
    logits: Float[Array, "*b classes"], targets: Float[Array, "*b classes"], label_smoothing: float = 0.0
) -> Float[Array, " *b"]:
    """Returns the binary cross entropy of independent labels, the mean over classes, in nats.

    Args:
        logits: of any leading shape.
        targets: probability of each class, in 0..1, in the same shape.
        label_smoothing: e in 0..1 (1 excluded): targets y become (1 - e) y + e / 2.

    Returns: one loss per example.

    Raises: UserError for targets that are not one number per class, such as class indices, and for a
        `label_smoothing` outside its range.
    """
    _check_smoothing(label_smoothing)
    _check_targets("sigmoid_cross_entropy", logits, targets)
    smoothed = (1.0 - label_smoothing) * targets + label_smoothing / 2.0
    losses: Array = optax.sigmoid_binary_cross_entropy(logits, smoothed).mean(-1)
    return losses


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
) -> Float[Array, " *b"]:
    """Returns T^2 KL(teacher || student) of the distributions at temperature T, in nats (arXiv 1503.02531).

    The factor T^2 keeps the size of the gradient when T changes.

    Args:
        student_logits: of any leading shape.
        teacher_logits: for the same images and classes; they get no gradient.
        temperature: T, above 0, the divisor of both logits.

    Returns: one loss per example.

    Raises: UserError if the shapes differ.
    """
    _check_targets("distillation", student_logits, teacher_logits)
    student = jax.nn.log_softmax(student_logits / temperature)
    teacher = jax.nn.log_softmax(jax.lax.stop_gradient(teacher_logits) / temperature)
    return temperature**2 * jnp.sum(jnp.exp(teacher) * (teacher - student), axis=-1)


def ensemble(logits: Float[Array, "members *b classes"], temperature: float) -> Float[Array, "*b classes"]:
    """Returns logits whose probabilities at `temperature` are the mean over the members of an ensemble.

    Distilling an ensemble so is section 2 of arXiv 1503.02531.

    Args:
        logits: of each member.
        temperature: above 0, the divisor of all logits.

    Returns: logits of the ensemble. Those of a single member are returned as they are.
    """
    if len(logits) == 1:
        return logits[0]  # log_softmax and logsumexp would round
    log_p = jax.nn.log_softmax(logits / temperature)
    return temperature * (jax.nn.logsumexp(log_p, axis=0) - math.log(len(logits)))
