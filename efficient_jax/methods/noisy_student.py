"""Noisy student (arXiv 1911.04252): a noised student learns labels and its teacher's pseudo-labels together.

The teacher, un-noised, predicts the unlabelled images once; `pseudo_labels` filters and balances what it says;
the student, at least as large, trains on both with input noise (augmentation) and model noise (dropout).
"""

from collections.abc import Callable

import jax.numpy as jnp

from efficient_jax.losses.labels import class_weights, cross_entropy
from efficient_jax.methods import settings
from efficient_jax.methods.views import one_view, right, saliency_of
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Aux


def noisy_student(
    apply: Apply,
    augment: Augment,
    *,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    class_balance: float = 0.0,
) -> LossFn:
    """Weighted mean cross-entropy of labelled (weight 1) and pseudo-labelled images (`unlabelled_weight`).

    The paper's code divides the same sum by the number of labelled images: a constant factor of the loss.
    Only the labels of people are smoothed, and weighed by `class_balance`, see `supervised`: pseudo-labels are soft
    already, and balanced by `pseudo_labels`.
    """

    def losses(logits, labels, n, context):
        weights = class_weights(context.class_counts, class_balance) if class_balance else 1.0
        return cross_entropy(logits[:n], labels[:n], label_smoothing, weights), cross_entropy(logits[n:], labels[n:])

    return student(apply, augment, losses, right, unlabelled_weight)


def student(
    apply: Apply, augment: Augment, losses: Callable[..., tuple], right: Callable, unlabelled_weight: float
) -> LossFn:
    """One forward pass of both streams; `losses(logits, labels, n, context)` are those of the first `n` images, which
    are labelled, and of the others."""
    settings.not_negative(unlabelled_weight, "unlabelled_weight")

    def loss_fn(params, model_state, context, batch, keys):
        n = len(batch["labelled"]["label"])

        def of_each(logits, labels):
            return jnp.concatenate(losses(logits, labels, n, context))

        variables = {"params": params, **model_state}
        seen, model_keys, _ = one_view(augment, batch, keys, saliency=saliency_of(apply, variables, of_each))
        (logits, _), model_state = apply(variables, seen["image"], True, model_keys)
        labelled, unlabelled = losses(logits, seen["label"], n, context)
        correct, m = right(logits, seen["label"]), len(unlabelled)
        return labelled.sum() + unlabelled_weight * unlabelled.sum(), Aux(
            n + unlabelled_weight * m,
            model_state,
            {
                "accuracy": (correct[:n].sum(), float(n)),
                "pseudo_label_accuracy": (correct[n:].sum(), float(m)),
            },
        )

    return loss_fn
