"""A linear head on the features of a frozen network, without updates: seconds where training takes minutes.

Features of every labelled image are computed once; the head is the closed form of ridge regression, or logistic
regression, with the best of many penalties.
"""

import numpy as np
from jaxtyping import Float

from efficient_jax import linear_head
from efficient_jax.types import UserError


def linear_probe(
    features: Float[np.ndarray, "n d"],
    labels: Float[np.ndarray, "n classes"],
    seed: int,
    validation: linear_head.Data | None,
    *,
    head: str = "logistic",
    l2: float = 0.0,
) -> linear_head.Choice:
    """The head "ridge" or "logistic" with penalty `l2`; 0.0 chooses it on `validation` (features, labels) or, where
    there is none, by cross-validation within the labelled images.
    """
    if l2 < 0.0:
        raise UserError(f"method.l2: {l2} is negative; 0.0 chooses one")
    if not l2:
        return linear_head.choose(features, labels, kind=head, seed=seed, validation=validation)
    kernel, bias = {"ridge": linear_head.ridge, "logistic": linear_head.logistic}[head](features, labels, l2)
    return linear_head.Choice(kernel, bias, l2, float("nan"))
