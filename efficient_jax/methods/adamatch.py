"""AdaMatch (arXiv 2106.04732): FixMatch with aligned predictions and a threshold relative to the labelled images."""

import jax

from efficient_jax.methods import settings
from efficient_jax.methods.consistency import Judgement, Shared, Views, sure, weak_to_strong
from efficient_jax.training import parallel
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Tree


def adamatch(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    threshold: float = 0.95,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    alignment: str = "labelled",
    fairness_weight: float = 0.0,
    momentum: float = 0.999,
    energy: float = 0.0,
) -> LossFn:
    """Returns the loss of AdaMatch: the strong view learns the aligned probabilities of its weak view.

    An image is learned when its highest aligned probability reaches `threshold` times the mean highest probability of
    the labelled images of the step (section 3.3 of the paper). The paper's interpolation of logits, which is for images
    of another domain, and the ramp of its weight are left out.

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the weak views.
        strong_augment: the stage's second augmentation, which makes the strong views.
        threshold: relative to the labelled images, 0.0 or more.
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

    def judge(views: Views, memory: Tree) -> Judgement:
        confidence = jax.nn.softmax(parallel.gathered(views.labelled)).max(-1).mean()
        return Judgement(jax.nn.softmax(views.aligned), sure(views.aligned, threshold * confidence), memory)

    shared = Shared(unlabelled_weight, label_smoothing, alignment, fairness_weight, momentum, energy)
    return weak_to_strong(apply, augment, strong_augment, judge, shared)
