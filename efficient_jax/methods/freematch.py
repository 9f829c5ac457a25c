"""FreeMatch (arXiv 2205.07246): thresholds that follow how sure the network is, of everything and of each class."""

from collections.abc import Mapping

import jax
import numpy as np

from efficient_jax.methods import consistency, marginals
from efficient_jax.methods.consistency import Judgement, Shared, Views, one_hot, sure, weak_to_strong
from efficient_jax.training import parallel
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Tree


def freematch(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    alignment: str = "",
    fairness_weight: float = 0.01,
    momentum: float = 0.999,
    energy: float = 0.0,
) -> LossFn:
    """Returns the loss of FreeMatch: FixMatch with thresholds that the network's confidence sets.

    The threshold of a class is the moving average of the highest probabilities, times the mean probability of the class
    relative to that of the most frequent class (section 4.1 of the paper). Both averages contain this step.

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the weak views.
        strong_augment: the stage's second augmentation, which makes the strong views.
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

    def judge(views: Views, memory: Tree) -> Judgement:
        confidence = jax.nn.softmax(parallel.gathered(views.aligned)).max(-1)
        mean = marginals.averaged(memory, confidence.mean(), momentum)
        frequencies = views.marginals["weak"]
        thresholds = mean * frequencies / frequencies.max()
        learned = sure(views.aligned, thresholds[views.aligned.argmax(-1)])
        return Judgement(one_hot(views.aligned), learned, mean)

    shared = Shared(unlabelled_weight, label_smoothing, alignment, fairness_weight, momentum, energy)
    return weak_to_strong(apply, augment, strong_augment, judge, shared, needs_marginals=True)


def memory(rows: Mapping[str, np.ndarray], images: int, classes: int) -> Tree:
    """Returns the memory before the first step: the lowest confidence that there is.

    Args:
        rows: indices of the images of each stream.
        images: number of images of the dataset.
        classes: number of classes.

    Returns: "judge" is the mean confidence, float32 [].
    """
    return consistency.memory(rows, images, classes) | {"judge": np.array(1.0 / classes, np.float32)}
