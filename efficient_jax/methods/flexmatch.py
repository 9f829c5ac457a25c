"""FlexMatch (arXiv 2110.08263): FixMatch with a lower threshold for classes that the network is seldom sure of."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from efficient_jax.methods import settings
from efficient_jax.methods.consistency import weak_to_strong
from efficient_jax.training import parallel
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Batch, Tree

UNSURE, OUTSIDE = -1, -2  # of an image that was never predicted surely; of one that is not in the pool


def flexmatch(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    threshold: float = 0.95,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
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

    Returns: see `consistency.weak_to_strong`; it reads and renews the memory.

    Raises: UserError for a negative threshold or weight.
    """
    settings.not_negative(threshold, "threshold")

    def pseudo_labels(logits: Array, memory: Tree, examples: Batch) -> tuple[Array, Array, Tree]:
        predicted, confidence = logits.argmax(-1), jax.nn.softmax(logits).max(-1)
        classes = logits.shape[-1]
        taken = confidence >= thresholds(memory, classes, threshold)[predicted]
        sure = jnp.where(confidence >= threshold, predicted, UNSURE)
        renewed = remember(memory, *parallel.gathered((examples["index"], sure)))
        return jax.nn.one_hot(predicted, classes), taken.astype(jnp.float32), renewed

    return weak_to_strong(
        apply,
        augment,
        strong_augment,
        pseudo_labels,
        unlabelled_weight=unlabelled_weight,
        label_smoothing=label_smoothing,
    )


def memory(rows: Mapping[str, np.ndarray], images: int) -> Int[np.ndarray, " images"]:
    """Returns the memory before the first step: no image was predicted surely.

    Args:
        rows: indices of the images of each stream; "unlabelled" is read.
        images: number of images of the dataset.

    Returns: int32, UNSURE for each unlabelled image, OUTSIDE for all others.
    """
    return np.where(np.isin(np.arange(images), rows["unlabelled"]), UNSURE, OUTSIDE).astype(np.int32)


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
