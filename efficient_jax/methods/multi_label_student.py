"""Noisy student for images that each show any number of the classes.

The teacher's answers are taken label by label, with a threshold for "shows it" and one for "does not", as in UPS (arXiv
2101.06329): an image's confidence in one label says nothing of its others, so that neither the highest probability nor
a softmax can decide for the whole image.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from efficient_jax.losses.labels import sigmoid_cross_entropy
from efficient_jax.methods.noisy_student import student, suggestion
from efficient_jax.methods.view import all_right
from efficient_jax.training.step import LossFn
from efficient_jax.types import Apply, Augment, UserError


def multi_label_student(
    apply: Apply, augment: Augment, *, unlabelled_weight: float = 1.0, label_smoothing: float = 0.0
) -> LossFn:
    """Weighted mean over images of the mean sigmoid cross-entropy, as `noisy_student`."""

    def losses(logits, labels, n, frozen):
        del frozen
        labelled = sigmoid_cross_entropy(logits[:n], labels[:n], label_smoothing)
        return labelled, sigmoid_cross_entropy(logits[n:], labels[n:])

    return student(apply, augment, losses, all_right, unlabelled_weight)


def certain(probabilities: Float[np.ndarray, "n classes"], threshold: float) -> Bool[np.ndarray, "n classes"]:
    """Where the teacher is sure of a label: p >= threshold, or 1 - p >= threshold."""
    return np.maximum(probabilities, 1 - probabilities) >= np.float32(threshold)


def multi_label_pseudo_labels(
    probabilities: Float[np.ndarray, "n classes"], seed: int, *, threshold: float = 0.9, soft: bool = False
) -> tuple[Float[np.ndarray, "n classes"], Int[np.ndarray, "n"]]:
    """(labels float32 [n classes], copies int32 [n], 0 or 1) from a teacher's probabilities of independent labels.

    A label of which the teacher is certain becomes 0 or 1, with `soft` it stays the probability. An uncertain one
    stays the probability in any case: rounded it would often be wrong, and left out it would need a mask for each
    label, while as a target it pulls the student no further than to the teacher's own doubt. An image is kept when the
    teacher is certain of at least one label. To ask for all would keep few images where there are many labels, and
    those without any of them; an image with none certain would teach doubts only.

    Raises: UserError when nothing is kept.
    """
    del seed
    if not 0.5 < threshold < 1.0:
        raise UserError(f"pseudo_labels.threshold: {threshold} is not between 0.5 and 1.0: below it yes is no as well")
    sure = certain(probabilities, threshold)
    if not sure.any():
        confidence = np.maximum(probabilities, 1 - probabilities).max(1)
        raise UserError(f"pseudo_labels.threshold: no label of any image reaches {threshold}; {suggestion(confidence)}")
    labels = probabilities if soft else np.where(sure, probabilities >= 0.5, probabilities)
    return labels.astype(np.float32), np.any(sure, axis=1).astype(np.int32)
