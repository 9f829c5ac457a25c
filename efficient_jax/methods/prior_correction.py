"""Corrects the bias of a network that was trained with other class frequencies than those of its test images."""

import numpy as np
import scipy
from jaxtyping import Float

from efficient_jax.errors import UserError

LEAST = 1e-30  # of a probability: float32 has none that is smaller and not 0


def prior_correction(
    probabilities: Float[np.ndarray, "n classes"], frequencies: Float[np.ndarray, " classes"]
) -> Float[np.ndarray, " classes"]:
    """Returns the bias of the logits with which the mean of the probabilities becomes `frequencies`.

    Hinton chose such a bias by the test error (arXiv 1503.02531, section 3); here no label is read: it is the minimum
    of the convex mean logsumexp(log p + bias) - frequencies @ bias.

    Args:
        probabilities: of the unlabelled images, one distribution for each.
        frequencies: of each class, above 0; their sum need not be 1.

    Returns: float64, what is added to the logits; its mean is 0.

    Raises: UserError where a class has no frequency.
    """
    if not (frequencies > 0.0).all():
        raise UserError("prior_correction: a class has no labelled image, so that its frequency is not known")
    wanted = frequencies.astype(np.float64) / frequencies.sum(dtype=np.float64)  # or a common shift would pay for ever
    log_p = np.log(np.maximum(probabilities.astype(np.float64), LEAST))

    def loss(bias: np.ndarray) -> tuple[float, np.ndarray]:
        logits = log_p + bias
        mean = scipy.special.softmax(logits, axis=1).mean(0)
        return scipy.special.logsumexp(logits, axis=1).mean() - wanted @ bias, mean - wanted

    start = np.log(wanted) - np.log(np.maximum(probabilities.mean(0, dtype=np.float64), LEAST))
    options = {"gtol": 1e-8, "ftol": 0.0, "maxiter": 1000}
    bias = scipy.optimize.minimize(loss, start, method="L-BFGS-B", jac=True, options=options).x
    centered: np.ndarray = bias - bias.mean()
    return centered
