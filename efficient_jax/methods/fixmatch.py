"""FixMatch (arXiv 2001.07685): where the weak view is sure of a class, the strong view learns it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax.methods import settings
from efficient_jax.methods.consistency import weak_to_strong
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Batch, Tree


def fixmatch(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    threshold: float = 0.95,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> LossFn:
    """Returns the loss of FixMatch: the strong view of an unlabelled image learns the class of its weak view.

    An image is learned when the highest probability of its weak view reaches `threshold` (section 2.2 of the paper).

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the weak views.
        strong_augment: the stage's second augmentation, which makes the strong views.
        threshold: probability from which on a prediction is learned, 0.0 or more; above 1.0 none is (a control).
        unlabelled_weight: weight of the loss of the unlabelled images, 0.0 or more.
        label_smoothing: smoothing of the labelled images' labels, in 0..1 (1 excluded).

    Returns: see `consistency.weak_to_strong`.

    Raises: UserError for a negative threshold or weight.
    """
    settings.not_negative(threshold, "threshold")

    def pseudo_labels(logits: Array, memory: Tree, examples: Batch) -> tuple[Array, Array, Tree]:
        del examples
        targets = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1])
        sure = jax.nn.softmax(logits).max(-1) >= threshold
        return targets, sure.astype(jnp.float32), memory

    return weak_to_strong(
        apply,
        augment,
        strong_augment,
        pseudo_labels,
        unlabelled_weight=unlabelled_weight,
        label_smoothing=label_smoothing,
    )
