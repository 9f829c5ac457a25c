"""Distillation of a detector: a student learns what its frozen teacher answers at every location."""

from jaxtyping import Array

from efficient_jax.detection import fcos
from efficient_jax.errors import UserError
from efficient_jax.methods import settings
from efficient_jax.methods.views import Keys, one_view, with_labels
from efficient_jax.tasks import Task
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree


def box_distill(
    apply: Apply,
    augment: Augment,
    teachers: tuple[Apply, ...],
    task: Task,
    *,
    soft_weight: float = 1.0,
    hard_weight: float = 1.0,
) -> LossFn:
    """Returns the loss of a detector that learns from another one, see `detection.fcos.distillation`.

    It is `soft_weight` times the distance to the teacher's answers, the mean over all images, plus `hard_weight` times
    the mean loss of the labelled images. The teacher, in evaluation mode, sees the student's view; its backbone may be
    another one, its levels are those of the student.

    Args:
        apply: the network.
        augment: the stage's augmentation.
        teachers: the network of the one teacher; its variables come in the context of a step.
        task: what the labels are: objects.
        soft_weight: weight of the teacher's answers, 0.0 or more.
        hard_weight: weight of the labels, 0.0 or more; 0.0 needs no labelled images.

    Returns: a loss function whose metrics are "accuracy" of the labelled images and "distance" to the teacher.

    Raises: UserError for a negative weight, two weights of 0.0, more than one teacher, and one with other levels.
    """
    settings.weights(soft_weight, hard_weight)
    if len(teachers) != 1:
        raise UserError(f"teachers: {len(teachers)} are named, box_distill learns from one")

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        seen, model_keys, n = one_view(augment, batch, keys)
        (outputs, _), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        (taught, _), _ = teachers[0](context.teachers[0], seen["image"], False, None)
        soft, total = fcos.distillation(outputs, taught).sum(), float(len(outputs))
        hard, metrics = with_labels(outputs, seen["label"], n, hard_weight, task)
        return soft_weight * soft + hard, Aux(total, model_state, metrics | {"distance": (soft, total)})

    return loss_fn
