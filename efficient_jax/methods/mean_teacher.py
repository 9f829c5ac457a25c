"""Mean Teacher (arXiv 1703.01780): the network agrees with its own average on two views of every image."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax.losses.labels import cross_entropy
from efficient_jax.methods import settings
from efficient_jax.methods.views import Keys, one_view
from efficient_jax.tasks.classification import right
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree


def mean_teacher(
    apply: Apply,
    augment: Augment,
    *,
    unlabelled_weight: float = 50.0,
    ramp: float = 0.25,
    label_smoothing: float = 0.0,
) -> LossFn:
    """Returns the loss of Mean Teacher.

    It is the mean cross-entropy of the labelled images, plus a weight times the mean squared difference between the
    probabilities of student and teacher, over all images and classes. The teacher is the stage's moving average
    (`ema_decay`), with augmentation and dropout like the student. The weight rises as exp(-5 (1 - t)^2), where t rises
    linearly from 0 to 1 (appendix B of the paper).

    Args:
        apply: the network.
        augment: the stage's augmentation.
        unlabelled_weight: weight of the squared difference after the ramp, 0.0 or more.
        ramp: share of the steps in which `unlabelled_weight` rises, in 0..1 (0 excluded).
        label_smoothing: smoothing of the labelled images' labels, in 0..1 (1 excluded).

    Returns: a loss function whose metrics are "accuracy" of the labelled images and "agreement", the share of all
        images on which student and teacher predict the same class.

    Raises: UserError for a setting out of range.
    """
    settings.not_negative(unlabelled_weight, "unlabelled_weight")
    settings.share(ramp, "ramp")

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        seen, model_keys, n = one_view(augment, batch, keys)
        other, other_keys, _ = one_view(augment, batch, keys, "other_")
        (logits, _), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        average = jax.lax.stop_gradient(context.ema)
        (teacher_logits, _), _ = apply(average, other["image"], True, other_keys)
        total = len(logits)
        labelled = cross_entropy(logits[:n], seen["label"][:n], label_smoothing)
        difference = jnp.square(jax.nn.softmax(logits) - jax.nn.softmax(teacher_logits)).mean(-1)
        weight = unlabelled_weight * jnp.exp(-5.0 * jnp.square(1.0 - jnp.minimum(context.progress / ramp, 1.0)))
        agree = right(logits, teacher_logits).sum()
        return labelled.sum() + weight * difference.sum() * (n / total), Aux(
            float(n),
            model_state,
            {
                "accuracy": (right(logits[:n], seen["label"][:n]).sum(), float(n)),
                "agreement": (agree, float(total)),
            },
        )

    return loss_fn
