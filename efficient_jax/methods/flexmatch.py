"""FlexMatch (arXiv 2110.08263): FixMatch with a lower threshold for classes that the network is seldom sure of."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from efficient_jax.methods import consistency, settings
from efficient_jax.methods.consistency import Judgement, Shared, Views, one_hot, sure, weak_to_strong
from efficient_jax.training import parallel
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Tree

UNSURE, OUTSIDE = -1, -2  # of an image that was never predicted surely; of one that is not in the pool


def flexmatch(
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
    """Returns the loss of FlexMatch: FixMatch with a threshold for each class.

    The memory holds, for each unlabelled image, the last class that was predicted with a probability of at least
    `threshold`. An image is learned when its highest probability reaches the threshold of its class: `thresholds` of
    the memory before this step.

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the weak views.
        strong_augment: the stage's second augmentation, which makes the strong views.
        threshold: highest threshold of a class, 0.0 or more; above 1.0 no prediction is learned (a control).
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
        predicted, classes = views.aligned.argmax(-1), views.aligned.shape[-1]
        learned = sure(views.aligned, thresholds(memory, classes, threshold)[predicted])
        last = jnp.where(sure(views.aligned, threshold) > 0.0, predicted, UNSURE)
        return Judgement(
            one_hot(views.aligned), learned, remember(memory, *parallel.gathered((views.image_index, last)))
        )

    shared = Shared(unlabelled_weight, label_smoothing, alignment, fairness_weight, momentum, energy)
    return weak_to_strong(apply, augment, strong_augment, judge, shared)


def memory(rows: Mapping[str, np.ndarray], images: int, classes: int) -> Tree:
    """Returns the memory before the first step: no image was predicted surely.

    Args:
        rows: indices of the images of each stream; "unlabelled" is read.
        images: number of images of the dataset.
        classes: number of classes.

    Returns: "judge" is int32 [images], UNSURE for each unlabelled image, OUTSIDE for all others.
    """
    last = np.where(np.isin(np.arange(images), rows["unlabelled"]), UNSURE, OUTSIDE).astype(np.int32)
    return consistency.memory(rows, images, classes) | {"judge": last}


def thresholds(memory: Int[Array, " images"], classes: int, threshold: float) -> Float[Array, " classes"]:
    """Returns the threshold of each class (section 3.3 of the paper).

    It is `threshold` times b / (2 - b), where b is the count of the class in the memory, divided by the largest count
    or, as long as that is larger, by the number of images that were never predicted surely.

    Args:
        memory: the last sure class of each image, UNSURE or OUTSIDE.
        classes: number of classes.
        threshold: highest threshold of a class, 0.0 or more.

    Returns: float32, in 0..`threshold`.
    """
    counts = (memory[:, None] == jnp.arange(classes)).sum(0)
    most = jnp.maximum(counts.max(), (memory == UNSURE).sum())
    b = counts.astype(jnp.float32) / most.astype(jnp.float32)
    return threshold * b / (2.0 - b)


def remember(memory: Int[Array, " images"], index: Int[Array, " b"], sure: Int[Array, " b"]) -> Int[Array, " images"]:
    """Returns the memory with the sure predictions of one step.

    The last entry counts where an image is twice in the batch. A plain scatter would leave that order to the device, so
    that the devices' memories could differ.

    Args:
        memory: the last sure class of each image, UNSURE or OUTSIDE.
        index: index of each image of the batch.
        sure: predicted class of each image of the batch; UNSURE keeps what the memory holds.
    """
    last = jnp.full_like(memory, -1).at[index].max(jnp.where(sure == UNSURE, -1, jnp.arange(len(sure))))
    return jnp.where(last >= 0, sure[last], memory)
