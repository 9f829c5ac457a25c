"""Any number of classes for each image: labels int32 [n k], 0 or 1 for each class, a row of -1 for images without a
label."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float, Int

from efficient_jax.data.stratification import SEVERAL_LABELS
from efficient_jax.errors import UserError
from efficient_jax.losses.labels import sigmoid_cross_entropy
from efficient_jax.metrics import accuracy
from efficient_jax.tasks.base import Head, Task
from efficient_jax.tasks.classification import LIKELIHOOD
from efficient_jax.tasks.selected_images import suggestion
from efficient_jax.types import INTERVAL, Column

Labels = Int[np.ndarray, "n k"]
Probabilities = Float[np.ndarray, "n k"]
HALF = 0.5
"""The threshold of every class without validation images, and in training."""


def targets(labels: Labels, classes: int) -> Float[np.ndarray, "n k"]:
    """Returns 0.0 and 1.0 for each class, float32; zeros for a row of -1.

    Args:
        labels: 0 or 1 for each class.
        classes: number of classes k.
    """
    return members(labels, classes).astype(np.float32)


def members(labels: Labels, classes: int) -> Bool[np.ndarray, "n k"]:
    """Returns which image has which class.

    Args:
        labels: 0 or 1 for each class.
        classes: number of classes k.
    """
    del classes
    has_class: np.ndarray = labels == 1
    return has_class


def from_columns(columns: Sequence[Sequence[str]], classes: Sequence[str]) -> Labels:
    """Returns the labels of columns of 0 and 1, -1 where they are not known.

    Args:
        columns: one column of numbers for each class.
        classes: name of each class.

    Raises: ValueError for text that is no number.
    """
    del classes
    return np.array(columns, np.int32).T


def probabilities(logits: Float[Array, "*b k"]) -> Float[Array, "*b k"]:
    """Returns the sigmoid of each logit in float32.

    Args:
        logits: of any leading shape.
    """
    return jax.nn.sigmoid(logits.astype(jnp.float32))


def right(logits: Float[Array, "b k"], targets: Float[Array, "b k"]) -> Float[Array, " b"]:
    """Returns 1.0 where every one of the labels is right at a threshold of 0.5, else 0.0.

    Args:
        logits: of each example.
        targets: probability of each class, in 0..1.
    """
    return ((logits >= 0.0) == (targets >= HALF)).all(-1).astype(jnp.float32)


def answers(probabilities: Probabilities, thresholds: Sequence[float] = ()) -> Labels:
    """Returns 1 for each class whose probability reaches its threshold, else 0.

    Args:
        probabilities: of each class, in 0..1.
        thresholds: one per class; none: 0.5 for all.
    """
    return (probabilities >= (thresholds if len(thresholds) else HALF)).astype(np.int32)


def scores(counts: Mapping[str, Any]) -> dict[str, float]:
    """Returns the mean average precision, which selects the checkpoint, and both F1 scores.

    Args:
        counts: as from `metrics.accuracy.several_labels`.
    """
    return {name: counts[name] for name in ("mean_average_precision", "micro_f1", "macro_f1")}


def likelihood(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    """Returns the negative log-likelihood, the mean over images and classes in nats.

    Args:
        probabilities: of each class, in 0..1.
        labels: 0 or 1 for each class.
    """
    return {"negative_log_likelihood": float(accuracy.label_losses(probabilities, labels).mean())}


def all_metrics(
    probabilities: Probabilities, labels: Labels, answers: Labels, classes: Sequence[str], shares: bool
) -> dict[str, float]:
    """Returns `metrics.accuracy.several_labels` and the log-likelihood.

    Args:
        probabilities: of each class, in 0..1.
        labels: 0 or 1 for each class.
        answers: predicted 0 or 1 for each class.
        classes: not used.
        shares: not used: there are no hard votes.
    """
    del classes, shares
    return accuracy.several_labels(probabilities, labels, answers) | likelihood(probabilities, labels)


def certain(probabilities: Probabilities, threshold: float) -> Bool[np.ndarray, "n k"]:
    """Returns for which classes a teacher is sure: p >= threshold, or 1 - p >= threshold.

    Args:
        probabilities: of each class, in 0..1.
        threshold: in 0..1.
    """
    return confidence(probabilities) >= np.float32(threshold)


def confidence(probabilities: Probabilities) -> Probabilities:
    """Returns the probability of the more probable of present and absent.

    Args:
        probabilities: of each class, in 0..1.
    """
    certainty: np.ndarray = np.maximum(probabilities, 1 - probabilities)
    return certainty


def pseudo_labels(
    probabilities: Probabilities, seed: int, *, threshold: float = 0.9, soft: bool = False
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, " n"]]:
    """Returns pseudo-labels that are selected class by class as in UPS (arXiv 2101.06329).

    A class is certain if p or 1 - p reaches `threshold`; its target is 0 or 1. The target of an uncertain class is the
    teacher's probability: rounded it would often be wrong, and without a target it would need a mask per class. An
    image is kept if at least one class is certain; to require all would keep few images where there are many classes.

    Args:
        probabilities: predictions of the teacher, one probability per class.
        seed: not used.
        threshold: p or 1 - p from which on a class is certain, between 0.5 and 1.0 (both excluded).
        soft: whether the targets of certain classes are probabilities too.

    Returns: (targets float32, copies of each image int32, 0 where the image is not kept, else 1).

    Raises: UserError for a threshold out of range, and if no image is kept.
    """
    del seed
    if not HALF < threshold < 1.0:
        raise UserError(f"pseudo_labels.threshold: {threshold} is not between 0.5 and 1.0 (both excluded)")
    sure = certain(probabilities, threshold)
    if not sure.any():
        highest = confidence(probabilities).max(1)
        raise UserError(f"pseudo_labels.threshold: no label of any image reaches {threshold}; {suggestion(highest)}")
    labels = probabilities if soft else np.where(sure, probabilities >= HALF, probabilities)
    return labels.astype(np.float32), np.any(sure, axis=1).astype(np.int32)


def _head_loss(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    total = (np.logaddexp(0.0, logits) - targets * logits).sum(dtype=np.float64)
    return total, scipy.special.expit(logits) - targets


def _strata(targets: np.ndarray) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    return np.unique(targets, axis=0, return_inverse=True)[1], np.zeros(len(targets), bool)


def _score(predictions: np.ndarray, targets: np.ndarray) -> float:
    if not targets.any():
        raise UserError("linear head: no example that is held out has a label; a penalty cannot be chosen")
    return accuracy.mean_average_precision(predictions, targets)


HEAD = Head(
    loss=_head_loss,
    mean_loss=lambda logits, targets: float((np.logaddexp(0.0, logits) - targets * logits).mean()),
    probabilities=lambda logits: scipy.special.expit(logits),  # scipy loads its parts where they are used
    prior=lambda _: HALF,
    strata=_strata,
    score=_score,
    score_name="mean average precision",
    threshold=HALF,
)

COLUMNS = (
    Column("correct", "all labels right, %", INTERVAL),
    Column("mean_average_precision", "mAP, %"),
    Column("micro_f1", "micro F1, %"),
    Column("macro_f1", "macro F1, %"),
)

MULTI_LABEL = Task(
    name="multi_label",
    labels="several labels",
    one_class=False,
    by_image=True,
    exclusive=False,
    stratification=SEVERAL_LABELS,
    label_shape=lambda shape: shape,
    targets=targets,
    members=members,
    label_columns=lambda classes: [f"label({name})" for name in classes],
    to_columns=lambda labels, _: [*labels.T],
    from_columns=from_columns,
    loss=sigmoid_cross_entropy,
    probabilities=probabilities,
    logits=lambda probabilities: jnp.log(probabilities) - jnp.log1p(-probabilities),
    right=right,
    answers=answers,
    counts=accuracy.several_labels,
    columns=COLUMNS,
    scores=scores,
    likelihood=likelihood,
    metrics=all_metrics,
    metric_columns=(*COLUMNS, LIKELIHOOD),
    severity=accuracy.label_losses,
    severity_name="loss",
    thresholds=accuracy.thresholds,
    pseudo_labels=pseudo_labels,
    confidence=confidence,
    decided=certain,
    head=HEAD,
)
