"""Knowledge distillation (arXiv 1503.02531): a student learns its frozen teachers' probabilities."""

import jax.numpy as jnp

from efficient_jax.errors import UserError
from efficient_jax.losses.labels import distillation, ensemble
from efficient_jax.methods.views import one_view, with_labels
from efficient_jax.tasks.classification import right
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Aux


def distill(
    apply: Apply,
    augment: Augment,
    teachers: tuple[Apply, ...],
    *,
    temperature: float = 4.0,
    soft_weight: float = 0.9,
    hard_weight: float = 0.1,
) -> LossFn:
    """`soft_weight` T^2 KL(teachers || student), the mean over all images, plus `hard_weight` cross-entropy, the mean
    over the labelled ones. The teachers (`context.teachers`, in evaluation mode) see the view that the student sees,
    mixed images too; with `hard_weight` 0.0, no labels and many updates that is function matching (arXiv 2106.05237).
    Of several teachers the target is the mean probability at temperature T.
    """

    if temperature <= 0.0:
        raise UserError(f"method.temperature: {temperature} is not above 0.0")
    if min(soft_weight, hard_weight) < 0.0 or soft_weight + hard_weight == 0.0:
        raise UserError(f"method: soft_weight {soft_weight} and hard_weight {hard_weight} are negative, or both 0.0")

    def loss_fn(params, model_state, context, batch, keys):
        seen, model_keys, n = one_view(augment, batch, keys)
        (logits, _), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        taught = [
            teacher(variables, seen["image"], False, None)[0][0]
            for teacher, variables in zip(teachers, context.teachers, strict=True)
        ]
        target = ensemble(jnp.stack(taught), temperature)
        soft, total = distillation(logits, target, temperature).sum(), float(len(logits))
        hard, metrics = with_labels(logits, seen["label"], n, hard_weight)
        metrics["agreement"] = (right(logits, target).sum(), total)
        return soft_weight * soft + hard, Aux(total, model_state, metrics)

    return loss_fn
