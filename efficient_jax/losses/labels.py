"""Losses between logits and labels, one per example.

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
        targets: distributions over the classes, in the same shape; an example whose targets sum to w counts w times.
        label_smoothing: e in 0..1 (1 excluded): targets y become (1 - e) y + e / classes (arXiv 1512.00567). Soft
            targets are smoothed too: leave it at 0.0 where something else has softened them.
        weights: factor of each class, 0 or more, or one for all.

    Returns: one loss per example.

    Raises: UserError for targets that are not distributions, such as class indices, and for a `label_smoothing`
        outside its range.
    """
    _check_smoothing(label_smoothing)
    check_targets("cross_entropy", logits, targets)
    uniform = targets.sum(-1, keepdims=True) / targets.shape[-1]
    smoothed = (1.0 - label_smoothing) * targets + label_smoothing * uniform if label_smoothing else targets
    losses: Array = optax.softmax_cross_entropy(logits, weights * smoothed)
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


def generalized_cross_entropy(
    logits: Float[Array, "*b classes"], targets: Float[Array, "*b classes"], q: float
) -> Float[Array, " *b"]:
    """Returns the generalized cross entropy (1 - p^q) / q, which wrong labels harm less (arXiv 1805.07836).

    p is the probability of the label; of a target that is a distribution the mean over its classes is taken.

    Args:
        logits: of any leading shape.
        targets: distributions over the classes, in the same shape.
        q: in 0..1 (0 excluded). Near 0.0 it is the cross entropy; 1.0 is 1 - p, the mean absolute error.

    Returns: one loss per example.

    Raises: UserError for targets that are not distributions, and for a `q` outside its range.
    """
    if not 0.0 < q <= 1.0:
        raise UserError(f"q: {q} is not in 0.0 .. 1.0 (0.0 excluded)")
    check_targets("generalized_cross_entropy", logits, targets)
    losses = -jnp.expm1(q * jax.nn.log_softmax(logits)) / q  # expm1, since 1 - p^q loses digits for a small q
    return jnp.sum(targets * losses, axis=-1)


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
    check_targets("sigmoid_cross_entropy", logits, targets)
    smoothed = (1.0 - label_smoothing) * targets + label_smoothing / 2.0
    losses: Array = optax.sigmoid_binary_cross_entropy(logits, smoothed).mean(-1)
    return losses


def _check_smoothing(label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(f"label_smoothing: {label_smoothing} is not in 0.0 .. 1.0 (1.0 excluded)")


def check_targets(name: str, logits: Array, targets: Array) -> None:
    """Checks that targets are floats in the shape of the logits.

    Args:
        name: of the loss, for the message.
        logits: of any shape.
        targets: what the loss compares them with.

    Raises: UserError if they are not.
    """
    if targets.shape == logits.shape and jnp.issubdtype(targets.dtype, jnp.floating):
        return
    classes = logits.shape[-1]
    shapes = f"targets are {targets.dtype} {list(targets.shape)}, want float {list(logits.shape)}, as the logits"
    how = f"jax.nn.one_hot(targets, {classes})" if targets.shape == logits.shape[:-1] else "targets.astype(float32)"
    raise UserError(f"{name}: {shapes}" + (f": {how}" if jnp.issubdtype(targets.dtype, jnp.integer) else ""))
