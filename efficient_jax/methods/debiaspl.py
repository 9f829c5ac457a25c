"""DebiasPL (arXiv 2201.01490): FixMatch whose predictions are corrected for the classes that it prefers."""

from efficient_jax.methods import marginals, settings
from efficient_jax.methods.consistency import Judgement, Shared, Views, one_hot, sure, weak_to_strong
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Tree


def debiaspl(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    threshold: float = 0.95,
    debias: float = 0.4,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    alignment: str = "",
    fairness_weight: float = 0.0,
    momentum: float = 0.999,
    energy: float = 0.0,
) -> LossFn:
    """Returns the loss of DebiasPL: FixMatch with debiased pseudo-labels and an adaptive margin.

    `debias` times the logarithm of the mean prediction, a vector over classes, is subtracted from the logits of weak
    views before they are judged, and added to those of strong views (sections 3.2 and 3.3 of the paper).

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the weak views.
        strong_augment: the stage's second augmentation, which makes the strong views.
        threshold: probability from which on a debiased prediction is learned, 0.0 or more.
        debias: factor of the logarithm, 0.0 or more; 0.0 is FixMatch.
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
    settings.not_negative(debias, "debias")

    def judge(views: Views, memory: Tree) -> Judgement:
        debiased = marginals.aligned(views.aligned, views.marginals, "uniform", debias)
        return Judgement(one_hot(debiased), sure(debiased, threshold), memory)

    shared = Shared(unlabelled_weight, label_smoothing, alignment, fairness_weight, momentum, energy)
    return weak_to_strong(apply, augment, strong_augment, judge, shared, margin=debias)
