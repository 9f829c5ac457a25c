"""Unsupervised data augmentation (arXiv 1904.12848): the strong view learns the sharpened probabilities of the weak
one."""

import jax
import jax.numpy as jnp

from efficient_jax.errors import UserError
from efficient_jax.methods import settings
from efficient_jax.methods.consistency import weak_to_strong
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment


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
    """Probabilities are sharpened by `temperature` below 1.0; an image is taken when its highest probability before
    that is above `threshold`. The paper's KL divergence is this cross-entropy less the target's entropy, a constant.
    """
    settings.not_negative(threshold, "threshold")
    if temperature <= 0.0:
        raise UserError(f"method.temperature: {temperature} is not above 0.0")

    def judge(logits, memory, examples):
        del examples
        sure = jax.nn.softmax(logits).max(-1) > threshold
        return jax.nn.softmax(logits / temperature), sure.astype(jnp.float32), memory

    return weak_to_strong(
        apply,
        augment,
        strong_augment,
        judge,
        unlabelled_weight=unlabelled_weight,
        label_smoothing=label_smoothing,
    )
