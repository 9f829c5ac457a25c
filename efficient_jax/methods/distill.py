"""Knowledge distillation (arXiv 1503.02531): a student learns its frozen teachers' probabilities."""

import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax.errors import UserError
from efficient_jax.losses.teachers import distillation, ensemble, relation_distances, standardised
from efficient_jax.methods import settings
from efficient_jax.methods.views import Keys, one_view, with_labels
from efficient_jax.settings import choose
from efficient_jax.tasks import Task
from efficient_jax.training import parallel
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree

LOSSES = dict.fromkeys(("kl", "standardised", "dist"))


def distill(
    apply: Apply,
    augment: Augment,
    teachers: tuple[Apply, ...],
    task: Task,
    *,
    loss: str = "kl",
    temperature: float = 4.0,
    soft_weight: float = 0.9,
    hard_weight: float = 0.1,
) -> LossFn:
    """Returns the loss of knowledge distillation.

    It is `soft_weight` times the distance of the student's probabilities to the teachers', the mean over all images,
    plus `hard_weight` times the mean cross-entropy of the labelled images. The distance is T^2 KL(teachers || student),
    with "standardised" that of standardised logits (arXiv 2403.01427), with "dist" one less the correlation over the
    classes of each image, plus the same over the images of the step for each class (arXiv 2205.10536). The target of
    several teachers is their mean probability at temperature T. The teachers, in evaluation mode, see the student's
    view, mixed images too: with `hard_weight` 0.0, no labels and many steps that is function matching (arXiv
    2106.05237). Where each pixel has a class, the distance is the mean over all pixels (arXiv 1903.04197), also over
    those without a label; "dist" takes each pixel for an image.

    Args:
        apply: the network.
        augment: the stage's augmentation.
        teachers: the teachers' networks; their variables come in the context of a step.
        task: what the labels are: one class of an image, or of each pixel.
        loss: "kl", "standardised" or "dist". Published: T = 2.0 and `soft_weight` 9.0 for "standardised"; 1.0 and 1.0
            for "dist", each with `hard_weight` 1.0.
        temperature: T, divides the logits of student and teachers, above 0.0.
        soft_weight: weight of the teachers' probabilities, 0.0 or more.
        hard_weight: weight of the labels, 0.0 or more; 0.0 needs no labelled images.

    Returns: a loss function whose metrics are "accuracy" of the labelled images and "agreement", the share of all
        images, or pixels, for which student and teachers predict the same class.

    Raises: UserError for a setting out of range, and for two weights of 0.0.
    """
    choose(loss, LOSSES, "method.loss")
    if temperature <= 0.0:
        raise UserError(f"method.temperature: {temperature} is not above 0.0")
    settings.weights(soft_weight, hard_weight)

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        seen, model_keys, n = one_view(augment, batch, keys)
        (logits, _), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        teacher_logits = [
            teacher(variables, seen["image"], False, None)[0][0]
            for teacher, variables in zip(teachers, context.teachers, strict=True)
        ]
        total, predicted = float(len(logits)), logits
        if loss == "standardised":
            predicted, *teacher_logits = map(standardised, (logits, *teacher_logits))
        target = ensemble(jnp.stack(teacher_logits), temperature)
        if loss == "dist":
            rows = logits.reshape(-1, logits.shape[-1]), target.reshape(-1, logits.shape[-1])
            of_rows, _ = relation_distances(*rows, temperature)
            all_rows, all_targets = parallel.gathered(rows)
            _, of_classes = relation_distances(all_rows, all_targets, temperature)
            soft = of_rows.sum() * (total / len(of_rows)) + total * of_classes.mean()
        else:
            distances = distillation(predicted, target, temperature)
            soft = distances.sum() * (total / distances.size)
        hard, metrics = with_labels(logits, seen["label"], n, hard_weight, task)
        metrics["agreement"] = (task.right(logits, task.probabilities(target)).sum(), total)
        return soft_weight * soft + hard, Aux(total, model_state, metrics)

    return loss_fn
