"""FixMatch (arXiv 2001.07685): where the weak view is sure of a class, the strong view learns it."""

import jax
import jax.numpy as jnp

from efficient_jax.methods import settings
from efficient_jax.methods.consistency import weak_to_strong
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment


def fixmatch(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    threshold: float = 0.95,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> LossFn:
    """An image is taken when the probability of its class reaches `threshold`; above 1.0 none is, for a control."""
    settings.not_negative(threshold, "threshold")

    def judge(logits, memory, examples):
        del examples
        targets = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1])
        sure = jax.nn.softmax(logits).max(-1) >= threshold
        return targets, sure.astype(jnp.float32), memory

    return weak_to_strong(
        apply,
        augment,
        strong_augment,
        judge,
        unlabelled_weight=unlabelled_weight,
        label_smoothing=label_smoothing,
    )
