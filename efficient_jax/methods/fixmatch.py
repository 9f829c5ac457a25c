"""FixMatch (arXiv 2001.07685): where the weak view is sure of a class, the strong view learns it."""

from efficient_jax.methods import settings
from efficient_jax.methods.consistency import Judgement, Shared, Views, one_hot, sure, weak_to_strong
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Tree


def fixmatch(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    threshold: float = 0.95,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    alignment: str = "",
    fairness_weight: float = 0.0,
    momentum: float = 0.999,
    energy: float = 0.0,
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
        return Judgement(one_hot(views.aligned), sure(views.aligned, threshold), memory)

    shared = Shared(unlabelled_weight, label_smoothing, alignment, fairness_weight, momentum, energy)
    return weak_to_strong(apply, augment, strong_augment, judge, shared)
