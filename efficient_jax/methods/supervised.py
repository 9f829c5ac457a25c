"""Learning from the images that people labelled."""

from efficient_jax.losses import cross_entropy
from efficient_jax.methods.view import one_view, right
from efficient_jax.training.step import LossFn
from efficient_jax.types import Apply, Augment, Aux


def supervised(apply: Apply, augment: Augment, *, label_smoothing: float = 0.0) -> LossFn:
    """Mean cross-entropy of the stream "labelled"."""

    def loss_fn(params, state, frozen, batch, keys):
        del frozen
        seen, model_keys = one_view(augment, batch, keys)
        (logits, _), state = apply({"params": params, **state}, seen["image"], True, model_keys)
        losses = cross_entropy(logits, seen["label"], label_smoothing)
        count = float(len(losses))
        return losses.sum(), Aux(count, state, {"accuracy": (right(logits, seen["label"]).sum(), count)})

    return loss_fn
