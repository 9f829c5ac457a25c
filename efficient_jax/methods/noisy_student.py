"""Noisy student (arXiv 1911.04252): a noised student learns labels and its teacher's pseudo-labels together.

The teacher, un-noised, predicts the unlabelled images once; `pseudo_labels` filters and balances what it says;
the student, at least as large, trains on both with input noise (augmentation) and model noise (dropout).
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from efficient_jax.data import sampling
from efficient_jax.losses.labels import class_weights, cross_entropy
from efficient_jax.methods import settings
from efficient_jax.methods.view import one_view, right, saliency_of
from efficient_jax.training.step import LossFn
from efficient_jax.types import Apply, Augment, Aux, UserError


def noisy_student(
    apply: Apply,
    augment: Augment,
    *,
    unlabelled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    class_balance: float = 0.0,
) -> LossFn:
    """Weighted mean cross-entropy of labelled (weight 1) and pseudo-labelled images (`unlabelled_weight`).

    The paper's code divides the same sum by the number of labelled images: a constant factor of the loss.
    Only the labels of people are smoothed, and weighed by `class_balance`, see `supervised`: pseudo-labels are soft
    already, and balanced by `pseudo_labels`.
    """

    def losses(logits, labels, n, frozen):
        weights = class_weights(frozen["class_counts"], class_balance) if class_balance else 1.0
        return cross_entropy(logits[:n], labels[:n], label_smoothing, weights), cross_entropy(logits[n:], labels[n:])

    return student(apply, augment, losses, right, unlabelled_weight)


def student(
    apply: Apply, augment: Augment, losses: Callable[..., tuple], right: Callable, unlabelled_weight: float
) -> LossFn:
    """One forward pass of both streams; `losses(logits, labels, n, frozen)` are those of the first `n` images, which
    are labelled, and of the others."""
    settings.not_negative(unlabelled_weight, "unlabelled_weight")

    def loss_fn(params, state, frozen, batch, keys):
        n = len(batch["labelled"]["label"])  # "labelled" comes before "unlabelled"

        def of_each(logits, labels):
            return jnp.concatenate(losses(logits, labels, n, frozen))

        variables = {"params": params, **state}
        seen, model_keys = one_view(augment, batch, keys, saliency=saliency_of(apply, variables, of_each))
        (logits, _), state = apply(variables, seen["image"], True, model_keys)
        labelled, unlabelled = losses(logits, seen["label"], n, frozen)
        correct, m = right(logits, seen["label"]), len(unlabelled)
        return labelled.sum() + unlabelled_weight * unlabelled.sum(), Aux(
            n + unlabelled_weight * m,
            state,
            {
                "accuracy": (correct[:n].sum(), float(n)),
                "pseudo_label_accuracy": (correct[n:].sum(), float(m)),
            },
        )

    return loss_fn


def pseudo_labels(
    probabilities: np.ndarray,
    seed: int,
    *,
    threshold: float = 0.3,
    balance: bool = True,
    per_class: int = 0,
    soft: bool = True,
    shuffled: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(labels float32 [n classes], copies int32 [n]) from a teacher's probabilities [n classes].

    An image is kept (copies > 0) when its highest probability reaches `threshold`. With `balance`, every class
    gets `per_class` copies (0: the mean number kept): of the thresholds 0.01 apart from `threshold` on, the highest
    that still leaves `per_class` images, then each of these per_class / count times, the fraction by a coin, as in
    the paper's code. Soft labels are the probabilities, others one-hot. `shuffled` deals the kept labels out at
    random: the negative control, in which all but what the teacher knows of an image stays the same.

    Raises: UserError when nothing is kept.
    """
    if not 0.0 <= threshold < 1.0:
        raise UserError(f"pseudo_labels.threshold: {threshold} is not in 0.0 .. 1.0 (1.0 excluded)")
    if per_class < 0:
        raise UserError(f"pseudo_labels.per_class: {per_class} is negative; 0 takes the mean number kept")
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    rng = np.random.default_rng(seed)
    copies = (confidence >= threshold).astype(np.int32)
    if not copies.any():
        raise UserError(f"pseudo_labels.threshold: no image reaches {threshold}; {suggestion(confidence)}")
    classes = probabilities.shape[1]
    if balance:
        target = per_class or max(1, round(copies.sum() / classes))
        coins = rng.random(len(copies))
        for number in range(classes):
            members = predicted == number
            levels = np.append(threshold, np.arange(np.floor(threshold * 100) + 1, 100) / 100).astype(confidence.dtype)
            counts = np.array([(members & (confidence >= level)).sum() for level in levels])
            enough = np.flatnonzero(counts >= target)
            chosen = enough[-1] if len(enough) else 0
            rate = target / max(counts[chosen], 1)
            drawn = sampling.copies(np.full(len(coins), rate), coins)
            copies[members] = np.where(confidence >= levels[chosen], drawn, 0)[members]
        for number in set(predicted[confidence >= threshold]) - set(predicted[copies > 0]):
            # Coins that all fell wrong leave a rare class its surest image.
            copies[np.where(predicted == number, confidence, -1.0).argmax()] = 1
    labels = probabilities if soft else np.eye(classes)[predicted]
    if shuffled:
        kept = np.flatnonzero(copies)
        labels = labels.copy()
        dealt = rng.permutation(kept)
        labels[kept], copies[kept] = labels[dealt], copies[dealt]  # with its copies: the balance stays too
    return labels.astype(np.float32), copies


def suggestion(confidence: Float[np.ndarray, "n"]) -> str:
    """What to say where a threshold keeps nothing; rounded down, so that the half is kept."""
    half = np.floor(100 * np.median(confidence)) / 100
    return f"the highest confidence is {confidence.max():.3f}; {half:.2f} would keep at least half of the images"
