"""Consistency for pixels and objects: what the moving average predicts moves with the image into a strong view.

FixMatch for pixels with strong views of the weak view, as in UniMatch (arXiv 2208.09910, 2410.10777); for boxes as in
Unbiased Teacher (arXiv 2102.09480).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax import augment as augmentations
from efficient_jax.errors import UserError
from efficient_jax.losses.labels import class_weights
from efficient_jax.methods import settings
from efficient_jax.methods.channel_dropout import complementary
from efficient_jax.methods.views import Keys, one_view
from efficient_jax.models.dense import changing_maps
from efficient_jax.tasks import Task
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree


def ema_teacher(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    task: Task,
    *,
    threshold: float = 0.95,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    class_balance: float = 0.0,
    strong_views: int = 2,
    ramp: float = 0.0,
    dice_weight: float = 0.0,
    channel_dropout: float = 0.0,
) -> LossFn:
    """Returns the mean loss of labelled images plus that of strong views of unlabelled ones.

    The moving average of the weights (`ema_decay`) predicts the weak view of an unlabelled image; what it predicts with
    the probability `threshold` is the label of that view. `strong_augment` changes both together: a strong view may be
    cropped, turned, cut and mixed. The loss of a strong view is multiplied by the share of it that has a label: a pixel
    without one counts as 0.

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the weak views.
        strong_augment: the stage's second augmentation; it changes the weak views.
        task: what the labels are: of pixels or objects.
        threshold: probability from which on a prediction is learned, 0.0 or more; above 1.0 none is (a control).
        unlabelled_weight: weight of the loss of the unlabelled images, 0.0 or more; UniMatch has 1.0.
        label_smoothing: smoothing of the labelled images' labels, in 0..1 (1 excluded).
        class_balance: beta of the class weights of labelled images, in 0..1 (1 excluded); 0.0 weighs all equally.
        strong_views: strong views of each unlabelled image, 1 or more.
        ramp: share of the steps in which `unlabelled_weight` rises linearly from 0.0, in 0..1.
        dice_weight: factor of the Dice loss of masks, of labelled images and strong views, 0.0 or more, see
            `supervised`.
        channel_dropout: probability that the strong views of an image lose half of the channels of their features, in
            0..1: of two views, one loses those that the other keeps (UniMatch V2, which has 0.5); 0.0: none does.

    Returns: a loss function whose metrics are "accuracy" of the labelled images and "taken", the share of the
        unlabelled views that is learned.

    Raises: UserError for a setting out of range, and for a task whose labels do not move with images.
    """
    settings.not_negative(threshold, "threshold")
    settings.not_negative(unlabelled_weight, "unlabelled_weight")
    settings.not_negative(ramp, "ramp")
    if not 0.0 <= channel_dropout <= 1.0:
        raise UserError(f"method.channel_dropout: {channel_dropout} is not in 0.0 .. 1.0")
    settings.class_balance(class_balance, 0.0, task)
    task = settings.with_dice(task, dice_weight)
    if strong_views < 1:
        raise UserError(f"method.strong_views: {strong_views} is less than 1")
    guesses, labelled_share = task.guesses, task.labelled_share
    if not guesses or not labelled_share:
        raise UserError("method.name: 'ema_teacher' is for labels of pixels and objects; take 'fixmatch'")

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        weak, model_keys, n = one_view(augment, batch, keys)
        images = weak["image"][n:]
        (predicted, _), _ = apply(jax.lax.stop_gradient(context.ema), images, False, None)
        guessed = {"image": images, "label": batch["unlabelled"]["label"], **guesses(predicted, threshold)}
        strong = [
            one_view(strong_augment, {"unlabelled": guessed}, {"unlabelled": keys["unlabelled"]}, f"strong{i}_")
            for i in range(strong_views)
        ]
        views = [weak["image"][:n], *(view["image"] for view, *_ in strong)]
        if len({view.dtype for view in views}) > 1:
            views = [augmentations.to_float(view) for view in views]
        all_keys = jnp.concatenate([model_keys[:n], *(view_keys for _, view_keys, _ in strong)])
        network = apply
        if channel_dropout:
            network = changing_maps(apply, complementary(keys["unlabelled"], n, strong_views, channel_dropout))
        (logits, _), model_state = network({"params": params, **model_state}, jnp.concatenate(views), True, all_keys)
        targets = jnp.concatenate([view["label"] for view, *_ in strong])
        weights = (class_weights(context.class_counts, class_balance),) if class_balance else ()
        labelled = task.loss(logits[:n], weak["label"][:n], label_smoothing, *weights)
        share = labelled_share(targets)
        unlabelled = share * task.loss(logits[n:], targets)
        weight = unlabelled_weight * (jnp.minimum(context.progress / ramp, 1.0) if ramp else 1.0)
        return labelled.sum() + weight * unlabelled.mean() * n, Aux(
            float(n),
            model_state,
            {
                "accuracy": (task.right(logits[:n], weak["label"][:n]).sum(), float(n)),
                "taken": (share.sum(), float(len(share))),
            },
        )

    return loss_fn
