"""What FixMatch, FlexMatch and UDA share: the weakly augmented view of an unlabelled image says what the strongly
augmented one should give."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from efficient_jax.losses.labels import cross_entropy
from efficient_jax.methods import settings
from efficient_jax.methods.views import two_views
from efficient_jax.tasks.classification import right
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree

Judge = Callable[[Float[Array, "m classes"], Tree, Batch], tuple[Float[Array, "m classes"], Float[Array, " m"], Tree]]
"""`judge(logits, memory, examples) -> (targets, mask, memory)`: what the logits of the weak views teach, for which
images (1.0, else 0.0), and the renewed memory, None for methods that have none."""


def weak_to_strong(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    judge: Judge,
    *,
    unlabelled_weight: float,
    label_smoothing: float,
) -> LossFn:
    """Mean cross-entropy of the labelled images, plus `unlabelled_weight` times the mean over all unlabelled images,
    those not taken too, of the masked cross-entropy between target and strong view."""
    settings.not_negative(unlabelled_weight, "unlabelled_weight")

    def loss_fn(params, model_state, context, batch, keys):
        del context
        memory = model_state.get("memory")
        model_state = {name: tree for name, tree in model_state.items() if name != "memory"}
        seen, model_keys, n = two_views(augment, strong_augment, batch, keys)
        (logits, _), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        m = len(seen["label"]) - n
        weak = jax.lax.stop_gradient(logits[n : n + m])
        targets, mask, memory = judge(weak, memory, batch["unlabelled"])
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
