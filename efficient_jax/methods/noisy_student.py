"""Noisy student (arXiv 1911.04252): a noised student learns labels and its teacher's pseudo-labels together.

The teacher, un-noised, predicts the unlabelled images once; `pseudo_labels` of the task filters and balances its
predictions; the student, at least as large, trains on both with input noise (augmentation) and model noise (dropout).
"""

import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax.losses.labels import class_weights, log_prior
from efficient_jax.methods import settings
from efficient_jax.methods.views import Keys, one_view, saliency_of
from efficient_jax.tasks import Task
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree


def noisy_student(
    apply: Apply,
    augment: Augment,
    task: Task,
    *,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    class_balance: float = 0.0,
    logit_adjustment: float = 0.0,
    dice_weight: float = 0.0,
) -> LossFn:
    """Returns the weighted mean loss of labelled (weight 1) and pseudo-labelled images.

    The paper's code divides the same sum by the number of labelled images: a constant factor of the loss.

    Args:
        apply: the network.
        augment: the stage's augmentation.
        task: what the labels are; it has the loss and the metric "accuracy".
        unlabelled_weight: weight of a pseudo-labelled image, 0.0 or more; a labelled one has 1.0.
        label_smoothing: smoothing of the labelled images' labels, in 0..1 (1 excluded).
        class_balance: beta of the class weights of labelled images, in 0..1 (1 excluded); 0.0 weighs all equally.
        logit_adjustment: factor of the log prior in the loss of labelled images, 0.0 or more, see `supervised`.
        dice_weight: factor of the Dice loss of masks, of labels and pseudo-labels, 0.0 or more, see `supervised`.

    Returns: a loss function whose metrics are "accuracy" of the labelled images and "pseudo_label_accuracy".
        Pseudo-labels, by default soft and balanced already, are neither smoothed nor weighted nor adjusted.

    Raises: UserError for a setting out of range, and as `supervised`.
    """
    settings.not_negative(unlabelled_weight, "unlabelled_weight")
    settings.class_balance(class_balance, logit_adjustment, task)
    task = settings.with_dice(task, dice_weight)

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        n = len(batch["labelled"]["label"])
        weights = (class_weights(context.class_counts, class_balance),) if class_balance else ()
        shift = logit_adjustment * log_prior(context.class_counts) if logit_adjustment else 0.0

        def losses_of(logits: Array, targets: Array) -> tuple[Array, Array]:
            labelled = task.loss(logits[:n] + shift, targets[:n], label_smoothing, *weights)
            return labelled, task.loss(logits[n:], targets[n:])

        def together(logits: Array, targets: Array) -> Array:
            return jnp.concatenate(losses_of(logits, targets))

        variables = {"params": params, **model_state}
        seen, model_keys, _ = one_view(augment, batch, keys, saliency=saliency_of(apply, variables, together))
        (logits, _), model_state = apply(variables, seen["image"], True, model_keys)
        labelled, unlabelled = losses_of(logits, seen["label"])
        correct, m = task.right(logits, seen["label"]), len(unlabelled)
        return labelled.sum() + unlabelled_weight * unlabelled.sum(), Aux(
            n + unlabelled_weight * m,
            model_state,
            {
                "accuracy": (correct[:n].sum(), float(n)),
                "pseudo_label_accuracy": (correct[n:].sum(), float(m)),
            },
        )

    return loss_fn
