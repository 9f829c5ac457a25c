"""Pseudo-labels (Lee 2013): the network learns its own predictions on unlabelled images where it is sure of them."""

import jax
import jax.numpy as jnp

from efficient_jax.losses.labels import cross_entropy
from efficient_jax.methods import settings
from efficient_jax.methods.views import one_view
from efficient_jax.tasks.classification import right
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Aux


def pseudo_label(
    apply: Apply,
    augment: Augment,
    *,
    threshold: float = 0.95,
    unlabelled_weight: float = 1.0,
    ramp: float = 0.4,
    label_smoothing: float = 0.0,
) -> LossFn:
    """Mean cross-entropy of the labelled images, plus a weight times the mean over all unlabelled images of the
    cross-entropy with their own most probable class, where its probability reaches `threshold`.

    The weight rises evenly to `unlabelled_weight` within the share `ramp` of the updates (0.4: USB's setting).
    """
    settings.not_negative(threshold, "threshold")
    settings.not_negative(unlabelled_weight, "unlabelled_weight")
    settings.share(ramp, "ramp")

    def loss_fn(params, model_state, context, batch, keys):
        seen, model_keys, n = one_view(augment, batch, keys)
        (logits, _), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        m = len(logits) - n
        labelled = cross_entropy(logits[:n], seen["label"][:n], label_smoothing)
        own = jax.lax.stop_gradient(logits[n:])
        mask = (jax.nn.softmax(own).max(-1) >= threshold).astype(jnp.float32)
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
