"""Supervised learning from labelled images."""

from jaxtyping import Array

from efficient_jax.losses.labels import class_weights, generalized_cross_entropy, log_prior
from efficient_jax.methods import settings
from efficient_jax.methods.views import Keys, one_view, saliency_of
from efficient_jax.tasks import Task
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree


def supervised(
    apply: Apply,
    augment: Augment,
    task: Task,
    *,
    label_smoothing: float = 0.0,
    class_balance: float = 0.0,
    logit_adjustment: float = 0.0,
    gce: float = 0.0,
    dice_weight: float = 0.0,
) -> LossFn:
    """Returns the mean loss of the stream "labelled".

    Args:
        apply: the network.
        augment: the stage's augmentation.
        task: what the labels are; it has the loss and the metric "accuracy".
        label_smoothing: smoothing of the labels, in 0..1 (1 excluded).
        class_balance: beta of the class weights in 0..1 (1 excluded): 0.0 all equal, 0.9 to 0.9999 rare classes more.
        logit_adjustment: factor of the log prior that is added to the logits in the loss (arXiv 2007.07314), 0.0 or
            more; 1.0 learns logits for equally frequent classes.
        gce: q of the generalized cross entropy, which wrong labels harm less (arXiv 1805.07836), such as 0.7; 0.0: the
            loss of the task. It has no other corrections.
        dice_weight: factor of the Dice loss of masks, which is added to the cross entropy of each image, 0.0 or more;
            1.0 weighs both alike. Classes of few pixels count in it as much as others.

    Returns: a loss function whose metric is "accuracy". Class weights are those of `losses.labels.class_weights` for
        the labelled images of each class.

    Raises: UserError for both corrections together, and for one where the loss of the task has no class weights, or no
        masks.
    """
    settings.class_balance(class_balance, logit_adjustment, task)
    settings.gce(gce, label_smoothing or class_balance or logit_adjustment, task)
    task = settings.with_dice(task, dice_weight)

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        weights = (class_weights(context.class_counts, class_balance),) if class_balance else ()

        shift = logit_adjustment * log_prior(context.class_counts) if logit_adjustment else 0.0

        def losses_of(logits: Array, targets: Array) -> Array:
            if gce:
                return generalized_cross_entropy(logits, targets, gce)
            return task.loss(logits + shift, targets, label_smoothing, *weights)

        variables = {"params": params, **model_state}
        seen, model_keys, _ = one_view(augment, batch, keys, saliency=saliency_of(apply, variables, losses_of))
        (logits, _), model_state = apply(variables, seen["image"], True, model_keys)
        losses = losses_of(logits, seen["label"])
        count = float(len(losses))
        return losses.sum(), Aux(count, model_state, {"accuracy": (task.right(logits, seen["label"]).sum(), count)})

    return loss_fn
