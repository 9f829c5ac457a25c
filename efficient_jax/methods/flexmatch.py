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
from efficient_jax.types import Apply, Augment

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
    """The memory holds the last class of which the network was sure (`threshold`) for each unlabelled image; an image
    is taken when its probability reaches its class's own threshold, `thresholds` of the memory before this update.
    """
    settings.not_negative(threshold, "threshold")

    def judge(logits, memory, examples):
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
        judge,
        unlabelled_weight=unlabelled_weight,
        label_smoothing=label_smoothing,
    )


def memory(rows: Mapping[str, np.ndarray], images: int) -> Int[np.ndarray, " images"]:
    """Before the first update."""
    return np.where(np.isin(np.arange(images), rows["unlabelled"]), UNSURE, OUTSIDE).astype(np.int32)


def thresholds(memory: Int[Array, " images"], classes: int, threshold: float) -> Float[Array, " classes"]:
    """`threshold` times b / (2 - b), where b is a class's count in the memory over the largest count, or over the
    number of unsure images as long as that is larger (section 3.3)."""
    counts = (memory[:, None] == jnp.arange(classes)).sum(0)
    most = jnp.maximum(counts.max(), (memory == UNSURE).sum())
    b = counts.astype(jnp.float32) / most.astype(jnp.float32)
    return threshold * b / (2.0 - b)


def remember(memory: Int[Array, " images"], index: Int[Array, " b"], sure: Int[Array, " b"]) -> Int[Array, " images"]:
    """The classes `sure` at `index`, where they are not UNSURE. Of an image that stands twice in the batch the last
    counts: a plain scatter would leave that to the device, and devices apart."""
    last = jnp.full_like(memory, -1).at[index].max(jnp.where(sure == UNSURE, -1, jnp.arange(len(sure))))
    return jnp.where(last >= 0, sure[last], memory)
