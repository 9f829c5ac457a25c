"""Pseudo-labels (Lee 2013): the network learns its own predictions on unlabelled images where it is sure of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax.losses.labels import cross_entropy
from efficient_jax.methods import settings
from efficient_jax.methods.energy import familiar
from efficient_jax.methods.views import Keys, one_view
from efficient_jax.tasks.classification import right
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree


def pseudo_label(
    apply: Apply,
    augment: Augment,
    *,
    threshold: float = 0.95,
    unlabelled_weight: float = 1.0,
    ramp: float = 0.4,
    label_smoothing: float = 0.0,
    energy: float = 0.0,
) -> LossFn:
    """Returns the loss of pseudo-labels: the network learns its own confident predictions.

    It is the mean cross-entropy of the labelled images, plus a weight times the mean, over all unlabelled images, of
    the cross-entropy with their own most probable class; it is 0 where that class's probability is below `threshold`.

    Args:
        apply: the network.
        augment: the stage's augmentation.
        threshold: probability from which on a prediction is learned, 0.0 or more; above 1.0 none is (a control).
        unlabelled_weight: weight of the loss of the unlabelled images after the ramp, 0.0 or more.
        ramp: share of the steps in which `unlabelled_weight` rises linearly from 0.0, in 0..1 (0 excluded); 0.4 in USB.
        label_smoothing: smoothing of the labelled images' labels, in 0..1 (1 excluded).
        energy: an image with more energy than this share of the labelled ones, such as 0.95, is not learned
            (`energy.familiar`); 0.0: all may be learned.

    Returns: a loss function whose metrics are "accuracy" of the labelled images and "taken", the share of the
        unlabelled images that are learned.

    Raises: UserError for a setting out of range.
    """
    settings.not_negative(threshold, "threshold")
    settings.not_negative(unlabelled_weight, "unlabelled_weight")
    settings.share(ramp, "ramp")
    settings.energy(energy)

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        seen, model_keys, n = one_view(augment, batch, keys)
        (logits, _), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        m = len(logits) - n
        labelled = cross_entropy(logits[:n], seen["label"][:n], label_smoothing)
        own = jax.lax.stop_gradient(logits[n:])
        mask = (jax.nn.softmax(own).max(-1) >= threshold).astype(jnp.float32)
        if energy:
            mask *= familiar(jax.lax.stop_gradient(logits[:n]), own, energy)
        unlabelled = mask * cross_entropy(logits[n:], jax.nn.one_hot(own.argmax(-1), own.shape[-1]))
        weight = unlabelled_weight * jnp.minimum(context.progress / ramp, 1.0)
        return labelled.sum() + weight * unlabelled.sum() * (n / m), Aux(
            float(n),
            model_state,
            {
                "accuracy": (right(logits[:n], seen["label"][:n]).sum(), float(n)),
                "taken": (mask.sum(), float(m)),
            },
        )

    return loss_fn
