"""Learning from the images that people labelled."""

from efficient_jax.losses.labels import class_weights, cross_entropy
from efficient_jax.methods.views import one_view, right, saliency_of
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Aux


def supervised(apply: Apply, augment: Augment, *, label_smoothing: float = 0.0, class_balance: float = 0.0) -> LossFn:
    """Mean cross-entropy of the stream "labelled".

    `class_balance`, the beta of `losses.class_weights`, weighs classes by how rare they are among the labelled
    images, `context.class_counts` [classes]: 0.0 all alike, 0.9 to 0.9999 rare ones more.
    """

    def loss_fn(params, model_state, context, batch, keys):
        weights = class_weights(context.class_counts, class_balance) if class_balance else 1.0

        def of_each(logits, labels):
            return cross_entropy(logits, labels, label_smoothing, weights)

        variables = {"params": params, **model_state}
        seen, model_keys, _ = one_view(augment, batch, keys, saliency=saliency_of(apply, variables, of_each))
        (logits, _), model_state = apply(variables, seen["image"], True, model_keys)
        losses = of_each(logits, seen["label"])
        count = float(len(losses))
        return losses.sum(), Aux(count, model_state, {"accuracy": (right(logits, seen["label"]).sum(), count)})

    return loss_fn
