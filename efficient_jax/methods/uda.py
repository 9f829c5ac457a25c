"""Unsupervised data augmentation (arXiv 1904.12848): the strong view learns the sharpened probabilities of the weak
one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax.errors import UserError
from efficient_jax.methods import settings
from efficient_jax.methods.consistency import weak_to_strong
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Batch, Tree


def uda(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    temperature: float = 0.4,
    threshold: float = 0.8,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> LossFn:
    """Returns the loss of UDA: the strong view of an image learns the sharpened probabilities of its weak view.

    An image is learned when its highest probability, before sharpening, is above `threshold`. The paper's KL divergence
    is this cross-entropy less the entropy of the target, a constant.

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the weak views.
        strong_augment: the stage's second augmentation, which makes the strong views.
        temperature: divides the weak view's logits, above 0.0; below 1.0 it sharpens the targets.
        threshold: probability above which a prediction is learned, 0.0 or more; from 1.0 on none is (a control).
        unlabelled_weight: weight of the loss of the unlabelled images, 0.0 or more.
        label_smoothing: smoothing of the labelled images' labels, in 0..1 (1 excluded).

    Returns: see `consistency.weak_to_strong`.

    Raises: UserError for a temperature that is not above 0.0, and for a negative threshold or weight.
    """
    settings.not_negative(threshold, "threshold")
    if temperature <= 0.0:
        raise UserError(f"method.temperature: {temperature} is not above 0.0")

    def pseudo_labels(logits: Array, memory: Tree, examples: Batch) -> tuple[Array, Array, Tree]:
        del examples
        sure = jax.nn.softmax(logits).max(-1) > threshold
        return jax.nn.softmax(logits / temperature), sure.astype(jnp.float32), memory

    return weak_to_strong(
        apply,
        augment,
        strong_augment,
        pseudo_labels,
        unlabelled_weight=unlabelled_weight,
        label_smoothing=label_smoothing,
    )
