"""Losses of maps of classes that are no means over pixels."""

import jax
from jaxtyping import Array, Float

from efficient_jax.errors import UserError
from efficient_jax.losses.labels import check_targets


def dice(
    logits: Float[Array, "b h w classes"], targets: Float[Array, "b h w classes"], smooth: float = 1.0
) -> Float[Array, " b"]:
    """Returns 1 - the Dice coefficient of each image, the mean over classes, in 0..1 (arXiv 1606.04797).

    The coefficient of a class is (2 I + smooth) / (S + smooth): I is the sum of p x target over the pixels, S that of p
    and that of the target, p the softmax. Small classes count as much as large ones. Unlike in the paper, S has no
    squares.

    Args:
        logits: of each pixel.
        targets: one distribution per pixel, zeros where it has no class: there p does not count.
        smooth: in pixels, above 0. A class that is neither there nor predicted has the coefficient 1.

    Returns: one loss per image; 0 for an image whose pixels have no class.

    Raises: UserError for targets that are not distributions, such as class indices, and for a `smooth` outside its
        range.
    """
    if smooth <= 0.0:
        raise UserError(f"smooth: {smooth} is not above 0.0")
    check_targets("dice", logits, targets)
    p = jax.nn.softmax(logits) * targets.sum(-1, keepdims=True)
    coefficients = (2.0 * (p * targets).sum((1, 2)) + smooth) / ((p + targets).sum((1, 2)) + smooth)
    return 1.0 - coefficients.mean(-1)
