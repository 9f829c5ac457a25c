"""What FixMatch, FlexMatch and UDA share: the strongly augmented view of an unlabelled image learns the prediction of
its weakly augmented view."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from efficient_jax.losses.labels import cross_entropy
from efficient_jax.methods import settings
from efficient_jax.methods.views import Keys, two_views
from efficient_jax.tasks.classification import right
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree

PseudoLabels = Callable[
    [Float[Array, "m classes"], Tree, Batch], tuple[Float[Array, "m classes"], Float[Array, " m"], Tree]
]
"""`pseudo_labels(logits, memory, examples) -> (targets, mask, memory)`: targets from the logits of the weak views, 1.0
for each image that is learned (else 0.0), and the renewed memory, None for methods without one."""


def weak_to_strong(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    pseudo_labels: PseudoLabels,
    *,
    unlabelled_weight: float,
    label_smoothing: float,
) -> LossFn:
    """Returns the loss of weak and strong views.

    It is the mean cross-entropy of the labelled images, plus `unlabelled_weight` times the mean, over all unlabelled
    images, of the cross-entropy between target and strong view; it is 0 for images that are not learned.

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the weak views.
        strong_augment: the stage's second augmentation, which makes the strong views.
        pseudo_labels: makes targets of the logits of the weak views.
        unlabelled_weight: weight of the loss of the unlabelled images, 0.0 or more.
        label_smoothing: smoothing of the labelled images' labels, in 0..1 (1 excluded).

    Returns: a loss function whose metrics are "accuracy" of the labelled images and "taken", the share of the
        unlabelled images that are learned.

    Raises: UserError for a negative weight.
    """
    settings.not_negative(unlabelled_weight, "unlabelled_weight")

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        del context
        memory = model_state.get("memory")
        model_state = {name: tree for name, tree in model_state.items() if name != "memory"}
        seen, model_keys, n = two_views(augment, strong_augment, batch, keys)
        (logits, _), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        m = len(seen["label"]) - n
        weak = jax.lax.stop_gradient(logits[n : n + m])
        targets, mask, memory = pseudo_labels(weak, memory, batch["unlabelled"])
        labelled = cross_entropy(logits[:n], seen["label"][:n], label_smoothing)
        unlabelled = mask * cross_entropy(logits[n + m :], targets)
        return labelled.sum() + unlabelled_weight * unlabelled.sum() * (n / m), Aux(
            float(n),
            model_state if memory is None else model_state | {"memory": memory},
            {
                "accuracy": (right(logits[:n], seen["label"][:n]).sum(), float(n)),
                "taken": (mask.sum(), float(m)),
            },
        )

    return loss_fn
