"""A linear head on the features of a frozen network, without training steps: seconds in place of minutes.

Features of every labelled image are computed once; the head is the closed form of ridge regression, or logistic
regression, with the best of many penalties.
"""

import numpy as np
from jaxtyping import Float

from efficient_jax import settings
from efficient_jax.errors import UserError
from efficient_jax.methods import linear_head
from efficient_jax.tasks import Task


def linear_probe(
    features: Float[np.ndarray, "n d"],
    labels: Float[np.ndarray, "n classes"],
    seed: int,
    validation: linear_head.Data | None,
    task: Task,
    views: int = 1,
    *,
    head: str = "logistic",
    l2: float = 0.0,
) -> linear_head.Choice:
    """Returns the linear head of a task on features.

    "ridge" predicts 0 to 1: its logits are these predictions, less the threshold of the task, times the factor that
    fits the held-out examples (`linear_head.ridge_scale`). Where no example could be held out they are not calibrated.

    Args:
        features: of the labelled images; of `views` augmented copies of the dataset, one behind the other.
        labels: targets of the same images.
        seed: seed of the folds of cross-validation.
        validation: (features, targets) on which the penalty is chosen; None chooses it by cross-validation.
        task: what the labels are.
        views: number of copies, 1 or more.
        head: "ridge" or "logistic" regression.
        l2: penalty of the squared weights, 0.0 or more; 0.0 chooses the best of many.

    Returns: the head, and the penalty with which it was fitted.

    Raises: UserError for settings out of range, and for a task without linear heads.
    """
    if task.head is None:
        raise UserError(f"method: a linear head cannot be fitted where an image has {task.labels}")
    if l2 < 0.0:
        raise UserError(f"method.l2: {l2} is negative; 0.0 chooses one")
    settings.choose(head, linear_head.KINDS, "method.head")
    if l2 and head == "logistic":
        (kernel,), (bias,) = linear_head.logistic_path(features, labels, (l2,), task.head)
        return linear_head.Choice(kernel, bias, l2, float("nan"))
    choice = linear_head.choose(
        features, labels, kind=head, seed=seed, validation=validation, head=task.head, views=views, l2=l2
    )
    bias = choice.bias - task.head.threshold if head == "ridge" else choice.bias
    return choice._replace(kernel=choice.scale * choice.kernel, bias=choice.scale * bias)
