"""Logit adjustment after training (arXiv 2007.07314): a network of rare and frequent classes, made fair to all."""

import numpy as np
from jaxtyping import Float

from efficient_jax.errors import UserError


def logit_adjustment(
    frequencies: Float[np.ndarray, " classes"], *, strength: float = 1.0
) -> Float[np.ndarray, " classes"]:
    """Returns the bias of the logits that takes the prior of the labelled images out of the predictions.

    It is -`strength` times the log frequency of each class (equation 9 of the paper), and lowers the balanced error.

    Args:
        frequencies: share of each class among the labelled images, above 0; their sum need not be 1.
        strength: tau of the paper, 0.0 or more.

    Returns: float64, what is added to the logits; its mean is 0.

    Raises: UserError where a class has no labelled image, and for a negative strength.
    """
    if strength < 0.0:
        raise UserError(f"method.strength: {strength} is negative")
    if not (frequencies > 0.0).all():
        raise UserError("logit_adjustment: a class has no labelled image, so that its frequency is not known")
    bias = -strength * np.log(frequencies.astype(np.float64))
    centered: np.ndarray = bias - bias.mean()
    return centered
