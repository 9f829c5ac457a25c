"""Unsupervised data augmentation (arXiv 1904.12848): the strong view learns the sharpened probabilities of the weak
one."""

import jax
import jax.numpy as jnp

from efficient_jax.errors import UserError
from efficient_jax.methods import settings
from efficient_jax.methods.consistency import Judgement, Shared, Views, weak_to_strong
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Tree


def uda(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    temperature: float = 0.4,
    threshold: float = 0.8,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    alignment: str = "",
    fairness_weight: float = 0.0,
    momentum: float = 0.999,
    energy: float = 0.0,
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
        alignment: "uniform" or "labelled" aligns the predictions of weak views (`marginals.aligned`); "" does not.
        fairness_weight: weight of FreeMatch's fairness (`marginals.fairness`), 0.0 or more.
        momentum: of the moving averages, in 0..1 (1 excluded); in 1,000 steps 0.99 follows faster.
        energy: an image with more energy than this share of the labelled ones, such as 0.95, is not learned
            (`energy.familiar`); 0.0: all may be learned.

    Returns: see `consistency.weak_to_strong`.

    Raises: UserError for a setting out of range.
    """
    settings.not_negative(threshold, "threshold")
    if temperature <= 0.0:
        raise UserError(f"method.temperature: {temperature} is not above 0.0")

    def judge(views: Views, memory: Tree) -> Judgement:
        learned = jax.nn.softmax(views.aligned).max(-1) > threshold
        return Judgement(jax.nn.softmax(views.aligned / temperature), learned.astype(jnp.float32), memory)

    shared = Shared(unlabelled_weight, label_smoothing, alignment, fairness_weight, momentum, energy)
    return weak_to_strong(apply, augment, strong_augment, judge, shared)
