"""Learning from images that each show any number of the classes."""

from efficient_jax.losses.labels import sigmoid_cross_entropy
from efficient_jax.methods.views import all_right, one_view, saliency_of
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Aux


def multi_label(apply: Apply, augment: Augment, *, label_smoothing: float = 0.0) -> LossFn:
    """Mean over images and labels of the sigmoid cross-entropy of the stream "labelled".

    "accuracy" counts images whose labels are all right at a threshold of 0.5, as the results do at theirs.
    """

    def loss_fn(params, model_state, context, batch, keys):
        del context

        def of_each(logits, labels):
            return sigmoid_cross_entropy(logits, labels, label_smoothing)

        variables = {"params": params, **model_state}
        seen, model_keys, _ = one_view(augment, batch, keys, saliency=saliency_of(apply, variables, of_each))
        (logits, _), model_state = apply(variables, seen["image"], True, model_keys)
        losses = of_each(logits, seen["label"])
        count = float(len(losses))
        return losses.sum(), Aux(count, model_state, {"accuracy": (all_right(logits, seen["label"]).sum(), count)})

    return loss_fn
