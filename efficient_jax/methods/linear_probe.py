"""A linear head on the features of a frozen network, without updates: seconds where training takes minutes.

Features of every labelled image are computed once; the head is the closed form of ridge regression, or logistic
regression, with the best of many penalties.
"""

import numpy as np
from jaxtyping import Float

from efficient_jax import settings
from efficient_jax.errors import UserError
from efficient_jax.methods import linear_head


def linear_probe(
    features: Float[np.ndarray, "n d"],
    labels: Float[np.ndarray, "n classes"],
    seed: int,
    validation: linear_head.Data | None,
    multi_label: bool,
    views: int = 1,
    *,
    head: str = "logistic",
    l2: float = 0.0,
) -> linear_head.Choice:
    """The head "ridge" or "logistic" with penalty `l2`; 0.0 chooses it on `validation` (features, labels) or, where
    there is none, by cross-validation within the labelled images, each of which is there `views` times, set behind
    set. With `multi_label` the logits are of independent labels. "ridge" predicts 0 to 1: its logits are these
    predictions times the factor that fits the held-out examples (`linear_head.ridge_scale`), with `multi_label` moved
    so that 0.5 is a probability of 0.5. Where no example could be held out they are not calibrated.
    """
    if l2 < 0.0:
        raise UserError(f"method.l2: {l2} is negative; 0.0 chooses one")
    settings.choose(head, linear_head.KINDS, "method.head")
    if l2 and head == "logistic":
        (kernel,), (bias,) = linear_head.logistic_path(features, labels, (l2,), multi_label)
        return linear_head.Choice(kernel, bias, l2, float("nan"))
    choice = linear_head.choose(
        features, labels, kind=head, seed=seed, validation=validation, multi_label=multi_label, views=views, l2=l2
    )
    bias = choice.bias - 0.5 if multi_label and head == "ridge" else choice.bias
    return choice._replace(kernel=choice.scale * choice.kernel, bias=choice.scale * bias)
