"""SoftMatch (arXiv 2301.10921): every unlabelled image is learned, with a weight that falls with its confidence."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.methods import consistency, marginals
from efficient_jax.methods.consistency import Judgement, Shared, Views, one_hot, weak_to_strong
from efficient_jax.training import parallel
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Tree


def softmatch(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    deviations: float = 2.0,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    alignment: str = "uniform",
    fairness_weight: float = 0.0,
    momentum: float = 0.999,
    energy: float = 0.0,
) -> LossFn:
    """Returns the loss of SoftMatch: FixMatch with a weight in place of the threshold.

    The weight is 1 above the mean confidence, and falls below it as a normal density: its standard deviation is that of
    the confidence, divided by `deviations`. Mean and variance are moving averages that contain this step. Alignment
    changes the weights and not the targets (sections 3.1 and 3.2 of the paper).

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the weak views.
        strong_augment: the stage's second augmentation, which makes the strong views.
        deviations: how fast the weight falls, above 0.0: n_sigma of the paper.
        unlabelled_weight: weight of the loss of the unlabelled images, 0.0 or more.
        label_smoothing: smoothing of the labelled images' labels, in 0..1 (1 excluded).
        alignment: "uniform" or "labelled" aligns the confidence (`marginals.aligned`); "" does not.
        fairness_weight: weight of FreeMatch's fairness (`marginals.fairness`), 0.0 or more.
        momentum: of the moving averages, in 0..1 (1 excluded); in 1,000 steps 0.99 follows faster.
        energy: an image with more energy than this share of the labelled ones, such as 0.95, is not learned
            (`energy.familiar`); 0.0: all may be learned.

    Returns: see `consistency.weak_to_strong`.

    Raises: UserError for a setting out of range.
    """
    if deviations <= 0.0:
        raise UserError(f"method.deviations: {deviations} is not above 0.0")

    def judge(views: Views, memory: Tree) -> Judgement:
        confidence = jax.nn.softmax(views.aligned).max(-1)
        all_of_step = parallel.gathered(confidence)
        mean = marginals.averaged(memory["mean"], all_of_step.mean(), momentum)
        variance = marginals.averaged(memory["variance"], all_of_step.var(ddof=1), momentum)
        below = jnp.minimum(confidence - mean, 0.0)
        weights = jnp.exp(-0.5 * jnp.square(deviations * below) / variance)
        return Judgement(one_hot(views.weak), weights, {"mean": mean, "variance": variance})

    shared = Shared(unlabelled_weight, label_smoothing, alignment, fairness_weight, momentum, energy)
    return weak_to_strong(apply, augment, strong_augment, judge, shared)


def memory(rows: Mapping[str, np.ndarray], images: int, classes: int) -> Tree:
    """Returns the memory before the first step: mean 1 / classes and variance 1, as in the paper's algorithm.

    Args:
        rows: indices of the images of each stream.
        images: number of images of the dataset.
        classes: number of classes.

    Returns: "judge" has "mean" and "variance" of the confidence, float32 [].
    """
    confidence = {"mean": np.array(1.0 / classes, np.float32), "variance": np.ones((), np.float32)}
    return consistency.memory(rows, images, classes) | {"judge": confidence}
