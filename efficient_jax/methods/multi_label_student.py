"""Noisy student for images that each show any number of the classes.

The teacher's answers are taken label by label, with a threshold for "shows it" and one for "does not", as in UPS (arXiv
2101.06329): an image's confidence in one label says nothing of its others, so that neither the highest probability nor
a softmax can decide for the whole image.
"""

from efficient_jax.losses.labels import sigmoid_cross_entropy
from efficient_jax.methods.noisy_student import student
from efficient_jax.methods.views import all_right
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment


def multi_label_student(
    apply: Apply, augment: Augment, *, unlabelled_weight: float = 1.0, label_smoothing: float = 0.0
) -> LossFn:
    """Weighted mean over images of the mean sigmoid cross-entropy, as `noisy_student`."""

    def losses(logits, labels, n, context):
        del context
        labelled = sigmoid_cross_entropy(logits[:n], labels[:n], label_smoothing)
        return labelled, sigmoid_cross_entropy(logits[n:], labels[n:])

    return student(apply, augment, losses, all_right, unlabelled_weight)
