"""One class for each image: labels int32 [n], the index of the class, -1 for images without a label."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float, Int

from efficient_jax.data.stratification import ONE_CLASS
from efficient_jax.losses.labels import cross_entropy
from efficient_jax.metrics import accuracy, calibration
from efficient_jax.metrics import classification as metrics
from efficient_jax.tasks.base import Head, Task
from efficient_jax.tasks.selected_images import selected
from efficient_jax.types import INTERVAL, Column

Labels = Int[np.ndarray, " n"]
Probabilities = Float[np.ndarray, "n k"]


def targets(labels: Labels, classes: int) -> Float[np.ndarray, "n k"]:
    """Returns one-hot targets, float32; zeros for a label of -1.

    Args:
        labels: class index of each image.
        classes: number of classes k.
    """
    return members(labels, classes).astype(np.float32)


def members(labels: Labels, classes: int) -> Bool[np.ndarray, "n k"]:
    """Returns which image is of which class.

    Args:
        labels: class index of each image.
        classes: number of classes k.
    """
    is_class: np.ndarray = labels[:, None] == np.arange(classes)
    return is_class


def to_columns(labels: Labels, classes: Sequence[str]) -> list[Sequence[Any]]:
    """Returns the column of class names, empty where there is no label.

    Args:
        labels: class index of each image.
        classes: name of each class.
    """
    return [["" if label < 0 else classes[label] for label in labels]]


def from_columns(columns: Sequence[Sequence[str]], classes: Sequence[str]) -> Labels:
    """Returns the labels that `to_columns` has written.

    Args:
        columns: one column of class names.
        classes: name of each class.

    Raises: KeyError for a name that is no class.
    """
    numbers = {"": -1} | {name: number for number, name in enumerate(classes)}
    return np.array([numbers[name] for name in columns[0]], np.int32)


def probabilities(logits: Float[Array, "*b k"]) -> Float[Array, "*b k"]:
    """Returns softmax in float32.

    Args:
        logits: of any leading shape.
    """
    return jax.nn.softmax(logits.astype(jnp.float32))


def right(logits: Float[Array, "b k"], targets: Float[Array, "b k"]) -> Float[Array, " b"]:
    """Returns 1.0 where the largest logit is the most probable class, else 0.0.

    Args:
        logits: of each example.
        targets: distributions over the classes.
    """
    return (logits.argmax(-1) == targets.argmax(-1)).astype(jnp.float32)


def answers(probabilities: Float[np.ndarray, "*n k"], thresholds: Sequence[float] = ()) -> Int[np.ndarray, " *n"]:
    """Returns the most probable class of each image.

    Args:
        probabilities: one distribution per image.
        thresholds: not used: the largest probability decides.
    """
    del thresholds
    predicted: np.ndarray = probabilities.argmax(-1)
    return predicted


def counts(probabilities: Probabilities, labels: Labels, answers: Labels) -> dict[str, int]:
    """Returns "correct", the images with the right class, and "n", all images.

    Args:
        probabilities: not used.
        labels: true class index of each image.
        answers: predicted class index of each image.
    """
    del probabilities
    return {"correct": int((answers == labels).sum()), "n": len(labels)}


def scores(counts: Mapping[str, Any]) -> dict[str, float]:
    """Returns the accuracy, which selects the checkpoint.

    Args:
        counts: as from `counts`.
    """
    return {"accuracy": counts["correct"] / counts["n"]}


def likelihood(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    """Returns the negative log-likelihood in nats and the expected calibration error.

    Args:
        probabilities: one distribution per image.
        labels: true class index of each image.
    """
    return {
        "negative_log_likelihood": accuracy.negative_log_likelihood(probabilities, labels),
        "calibration_error": calibration.expected_calibration_error(probabilities, labels),
    }


def all_metrics(
    probabilities: Probabilities, labels: Labels, answers: Labels, classes: Sequence[str], shares: bool
) -> dict[str, float | None]:
    """Returns `metrics.classification.figures`.

    Args:
        probabilities: one distribution per image.
        labels: true class index of each image.
        answers: predicted class index of each image.
        classes: not used.
        shares: whether `probabilities` are shares of votes.
    """
    del classes
    return metrics.figures(probabilities, labels, answers, shares)


def calibrated(
    validation_probabilities: Float[np.ndarray, "m k"],
    validation_labels: Int[np.ndarray, " m"],
    probabilities: Probabilities,
    labels: Labels,
) -> dict[str, float]:
    """Returns the temperature fitted to validation images, and likelihood and calibration error of others with it.

    Args:
        validation_probabilities: one distribution per validation image.
        validation_labels: their true classes.
        probabilities: one distribution per test image.
        labels: their true classes.
    """
    temperature = calibration.temperature(validation_probabilities, validation_labels)
    tempered = calibration.tempered(probabilities, temperature)
    return {"temperature": temperature} | {
        f"tempered_{name}": value for name, value in likelihood(tempered, labels).items()
    }


def pseudo_labels(
    probabilities: Probabilities,
    seed: int,
    *,
    threshold: float = 0.3,
    balance: bool = True,
    per_class: int = 0,
    soft: bool = True,
    shuffled: bool = False,
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, " n"]]:
    """Returns the pseudo-labels of a noisy student (arXiv 1911.04252).

    An image is kept if its highest probability reaches `threshold`. With `balance`, every class gets `per_class`
    copies, as in the paper's code: its threshold is the highest one, in steps of 0.01 from `threshold` on, that leaves
    at least `per_class` images, and each of these is copied per_class / count times, the fraction at random.

    Args:
        probabilities: predictions of the teacher, one distribution per image.
        seed: seed of the random fractions and of the permutation.
        threshold: probability from which on an image is kept, in 0..1 (1 excluded).
        balance: whether all classes get equally many copies.
        per_class: copies of each class, 0 or more; 0: the mean number of kept images per class.
        soft: whether targets are probabilities (True) or one-hot (False).
        shuffled: whether the kept labels are permuted at random between their images (a negative control).

    Returns: (targets float32, copies of each image int32, 0 where the image is not kept).

    Raises: UserError for a setting out of range, and if no image is kept.
    """
    classes, predicted = probabilities.shape[1], probabilities.argmax(1)
    chosen = selected(
        probabilities.max(1),
        predicted,
        classes,
        seed,
        threshold=threshold,
        balance=balance,
        per_class=per_class,
        soft=soft,
        shuffled=shuffled,
    )
    labels = np.array(probabilities if soft else np.eye(classes)[predicted], np.float32)
    if shuffled:
        labels[chosen.kept] = labels[chosen.sources]
    return labels, chosen.copies


def _confidence(probabilities: Probabilities) -> Probabilities:
    return np.repeat(probabilities.max(1)[:, None], probabilities.shape[1], axis=1)


def _decided(probabilities: Probabilities, threshold: float) -> Bool[np.ndarray, "n k"]:
    del threshold  # the images that are kept reach it
    return members(probabilities.argmax(1), probabilities.shape[1])


def _head_loss(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    log_p = scipy.special.log_softmax(logits, axis=1)
    total = -(targets * log_p).sum(dtype=np.float64)
    return total, targets.sum(1, keepdims=True) * np.exp(log_p) - targets


def _strata(targets: np.ndarray) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    labels = targets.argmax(1)
    return labels, np.bincount(labels)[labels] == 1


RIGHT = Column("correct", "accuracy, %", INTERVAL)
LIKELIHOOD = Column("negative_log_likelihood", "NLL", ".3f", 1.0)

HEAD = Head(
    loss=_head_loss,
    mean_loss=lambda logits, targets: float(-(targets * scipy.special.log_softmax(logits, axis=1)).sum(1).mean()),
    probabilities=lambda logits: scipy.special.softmax(logits, axis=-1),
    prior=lambda targets: targets.sum(1, keepdims=True) / targets.shape[1],
    strata=_strata,
    score=lambda predictions, targets: float((predictions.argmax(1) == targets.argmax(1)).mean()),
    score_name="right",
    threshold=0.0,
)

CLASSIFICATION = Task(
    name="classification",
    labels="one class",
    one_class=True,
    by_image=True,
    exclusive=True,
    stratification=ONE_CLASS,
    label_shape=lambda shape: shape[:-1],
    targets=targets,
    members=members,
    label_columns=lambda _: ["label"],
    to_columns=to_columns,
    from_columns=from_columns,
    loss=cross_entropy,
    probabilities=probabilities,
    logits=jnp.log,
    right=right,
    answers=answers,
    counts=counts,
    columns=(RIGHT,),
    scores=scores,
    likelihood=likelihood,
    metrics=all_metrics,
    metric_columns=(
        RIGHT,
        Column("balanced_accuracy", "balanced accuracy, %"),
        Column("macro_f1", "macro F1, %"),
        LIKELIHOOD,
        Column("calibration_error", "ECE", ".3f", 1.0),
        Column("calibration_floor", "ECE floor", ".3f", 1.0),
    ),
    severity=lambda probabilities, _: probabilities.max(1),
    severity_name="confidence",
    pseudo_labels=pseudo_labels,
    selected=selected,
    confidence=_confidence,
    decided=_decided,
    calibrated=calibrated,
    head=HEAD,
)
