"""Knowledge distillation (arXiv 1503.02531): a student learns its frozen teachers' probabilities."""

import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax.errors import UserError
from efficient_jax.losses.labels import distillation, ensemble
from efficient_jax.methods.views import Keys, one_view, with_labels
from efficient_jax.tasks.classification import right
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree


def distill(
    apply: Apply,
    augment: Augment,
    teachers: tuple[Apply, ...],
    *,
    temperature: float = 4.0,
    soft_weight: float = 0.9,
    hard_weight: float = 0.1,
) -> LossFn:
    """Returns the loss of knowledge distillation.

    It is `soft_weight` T^2 KL(teachers || student), the mean over all images, plus `hard_weight` times the mean
    cross-entropy of the labelled images. The target of several teachers is their mean probability at temperature T. The
    teachers, in evaluation mode, see the student's view, mixed images too: with `hard_weight` 0.0, no labels and many
    steps that is function matching (arXiv 2106.05237).

    Args:
        apply: the network.
        augment: the stage's augmentation.
        teachers: the teachers' networks; their variables come in the context of a step.
        temperature: T, divides the logits of student and teachers, above 0.0.
        soft_weight: weight of the teachers' probabilities, 0.0 or more.
        hard_weight: weight of the labels, 0.0 or more; 0.0 needs no labelled images.

    Returns: a loss function whose metrics are "accuracy" of the labelled images and "agreement", the share of all
        images on which student and teachers predict the same class.

    Raises: UserError for a setting out of range, and for two weights of 0.0.
    """

    if temperature <= 0.0:
        raise UserError(f"method.temperature: {temperature} is not above 0.0")
    if min(soft_weight, hard_weight) < 0.0 or soft_weight + hard_weight == 0.0:
        raise UserError(f"method: soft_weight {soft_weight} and hard_weight {hard_weight} are negative, or both 0.0")

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        seen, model_keys, n = one_view(augment, batch, keys)
        (logits, _), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        teacher_logits = [
            teacher(variables, seen["image"], False, None)[0][0]
            for teacher, variables in zip(teachers, context.teachers, strict=True)
        ]
        target = ensemble(jnp.stack(teacher_logits), temperature)
        soft, total = distillation(logits, target, temperature).sum(), float(len(logits))
        hard, metrics = with_labels(logits, seen["label"], n, hard_weight)
        metrics["agreement"] = (right(logits, target).sum(), total)
        return soft_weight * soft + hard, Aux(total, model_state, metrics)

    return loss_fn
