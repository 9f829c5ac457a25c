"""A class for each pixel: labels uint8 (of files int32) [n h w], the index of the class, 255 where a pixel has none.

In the step an example has them as its `mask`, plus one: 0 is then a pixel without a class, and what a warp brings in
from outside of the image is 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, UInt8

from efficient_jax import files
from efficient_jax.data import objects
from efficient_jax.data.stratification import MAPS
from efficient_jax.errors import UserError
from efficient_jax.losses.labels import cross_entropy
from efficient_jax.losses.masks import dice
from efficient_jax.metrics import segmentation as metrics
from efficient_jax.metrics.classification import NOT_COUNTED
from efficient_jax.tasks.base import Task
from efficient_jax.tasks.classification import probabilities
from efficient_jax.types import INTERVAL, Batch, Column, Example

LEAST = 2.0**-24  # the smallest number of float16, in which probabilities are kept

Labels = Integer[np.ndarray, "n h w"]
Probabilities = Float[np.ndarray, "n h w k"]


def targets(labels: Labels, classes: int) -> Float[np.ndarray, "n h w k"]:
    """Returns one-hot targets of each pixel, float32; zeros for a pixel without a class.

    Args:
        labels: class index of each pixel.
        classes: number of classes k.
    """
    one_hot: np.ndarray = (labels[..., None] == np.arange(classes)).astype(np.float32)
    return one_hot


def members(labels: Labels, classes: int) -> Bool[np.ndarray, "n k"]:
    """Returns which image has a pixel of which class.

    Args:
        labels: class index of each pixel.
        classes: number of classes k.
    """
    return np.stack([np.any(labels == index, axis=(1, 2)) for index in range(classes)], 1)


def answers(probabilities: Float[np.ndarray, "*n k"], thresholds: Sequence[float] = ()) -> UInt8[np.ndarray, " *n"]:
    """Returns the most probable class of each pixel.

    Args:
        probabilities: one distribution per pixel.
        thresholds: not used.
    """
    del thresholds
    classes = np.empty(probabilities.shape[:-1], np.uint8)
    for i, image in enumerate(files.entries(probabilities)):
        classes[i] = image.astype(np.float32).argmax(-1)
    return classes


def entries(labels: Labels) -> dict[str, np.ndarray]:
    """Returns the masks that move with images: the class of each pixel plus one, uint8, 0 where it has none.

    Args:
        labels: class index of each pixel, 255 where it has none.
    """
    return {"mask": labels.astype(np.uint8) + np.uint8(1)}


def view_targets(views: Batch) -> Float[Array, "b h w k"]:
    """Returns the targets of augmented examples, one-hot for each pixel; zeros for a pixel without a class.

    Args:
        views: their masks as from `entries`, and vectors of k classes.
    """
    classes = views["label"].shape[-1]
    return jax.nn.one_hot(views["mask"].astype(jnp.int32) - 1, classes, dtype=jnp.float32)


def resized(labels: Labels, before: tuple[int, int], size: int) -> Labels:
    """Returns the labels of images that are resized to squares, each pixel that of the nearest one.

    Args:
        labels: class index of each pixel.
        before: height and width of the images in pixels.
        size: side of the squares in pixels.
    """
    height, width = before
    moved: np.ndarray = objects.resized({"mask": labels}, width, height, size)["mask"]
    return moved


def loss(
    logits: Float[Array, "b h w k"],
    targets: Float[Array, "b h w k"],
    label_smoothing: float = 0.0,
    weights: Float[Array, " k"] | float = 1.0,
    *,
    dice_weight: float = 0.0,
) -> Float[Array, " b"]:
    """Returns the mean cross entropy over the pixels of each image that have a class, in nats, and its Dice loss.

    Args:
        logits: of each pixel.
        targets: one distribution per pixel, zeros where it has no class.
        label_smoothing: of the cross entropy, see `losses.cross_entropy`.
        weights: of the classes in the cross entropy, or one for all.
        dice_weight: factor of `losses.dice`, which is added; 0.0: the cross entropy alone.
    """
    counted = targets.sum(-1)
    pixels = counted * cross_entropy(logits, targets, label_smoothing, weights)
    entropy = pixels.sum((1, 2)) / jnp.maximum(counted.sum((1, 2)), 1.0)
    return entropy + dice_weight * dice(logits, targets) if dice_weight else entropy


def class_counts(labels: Labels, classes: int) -> Float[np.ndarray, " k"]:
    """Returns the number of images of each class, where an image counts for a class by its share of the pixels.

    Args:
        labels: class index of each pixel.
        classes: number of classes k.
    """
    counts = np.stack([(labels == index).sum((1, 2)) for index in range(classes)], 1)
    shares: np.ndarray = (counts / np.maximum(counts.sum(1, keepdims=True), 1)).sum(0).astype(np.float32)
    return shares


def right(logits: Float[Array, "b h w k"], targets: Float[Array, "b h w k"]) -> Float[Array, " b"]:
    """Returns the share of right pixels of each image, of those that have a class.

    Args:
        logits: of each pixel.
        targets: one distribution per pixel, zeros where it has no class.
    """
    counted = targets.sum(-1)
    pixels = jnp.where(logits.argmax(-1) == targets.argmax(-1), counted, 0.0)
    return pixels.sum((1, 2)) / jnp.maximum(counted.sum((1, 2)), 1.0)


def counts(probabilities: Probabilities, labels: Labels, answers: Labels) -> dict[str, Any]:
    """Returns `metrics.segmentation.figures`; a class is named by its index.

    Args:
        probabilities: one distribution per pixel.
        labels: true class index of each pixel.
        answers: predicted class index of each pixel.
    """
    return metrics.figures(answers, labels, tuple(map(str, range(probabilities.shape[-1]))))


def image_scores(answers: Labels, labels: Labels, classes: int) -> Float[np.ndarray, " n"]:
    """Returns the mean intersection over union of each image, over the classes that it has; NaN without any.

    Args:
        answers: predicted class index of each pixel.
        labels: true class index of each pixel.
        classes: number of classes.
    """
    return metrics.mean_iou(metrics.overlaps(answers, labels, classes))


def scores(counts: Mapping[str, Any]) -> dict[str, float]:
    """Returns the mean intersection over union, which selects the checkpoint.

    Args:
        counts: as from `counts`.
    """
    return {"mean_iou": counts["mean_iou"]}


def losses(probabilities: Probabilities, labels: Labels) -> Float[np.ndarray, " n"]:
    """Returns the mean of -log p(label) over the pixels of each image that have a class, in nats.

    Args:
        probabilities: one distribution per pixel; a probability below 6e-8 counts as that.
        labels: true class index of each pixel.
    """
    losses = np.zeros(len(labels))
    for i, (image, label) in enumerate(zip(files.entries(probabilities), labels, strict=True)):
        counted = np.nonzero(label != NOT_COUNTED)
        p = np.maximum(image[(*counted, label[counted])], LEAST).astype(np.float64)
        losses[i] = -np.log(p).sum() / max(len(p), 1)
    return losses


def pseudo_labels(
    probabilities: Float[np.ndarray, "*n k"], seed: int, *, threshold: float = 0.95
) -> tuple[UInt8[np.ndarray, " *n"], Int[np.ndarray, " m"]]:
    """Returns the most probable class of each pixel where its probability reaches the threshold, 255 elsewhere.

    Args:
        probabilities: predictions of the teacher, one distribution per pixel.
        seed: not used.
        threshold: probability from which on a pixel is learned, in 0..1.

    Returns: (classes uint8; 1 for each image that has any, else 0).

    Raises: UserError for a threshold out of range.
    """
    del seed
    if not 0.0 <= threshold <= 1.0:
        raise UserError(f"pseudo_labels.threshold: {threshold} is not in 0.0 .. 1.0")
    sure = probabilities.max(-1) >= np.float32(threshold)
    labels = np.where(sure, probabilities.argmax(-1), NOT_COUNTED).astype(np.uint8)
    return labels, sure.reshape(len(sure), -1).any(1).astype(np.int32)


def guesses(logits: Float[Array, "b h w k"], threshold: float) -> Example:
    """Returns what examples have of a network's own predictions, see `entries`; 0 where it is not sure.

    Args:
        logits: of each pixel.
        threshold: probability from which on a pixel has a class, in 0..1.
    """
    p = probabilities(logits)
    return {"mask": jnp.where(p.max(-1) >= threshold, p.argmax(-1) + 1, 0).astype(jnp.uint8)}


def _no_columns(*_: object) -> Any:
    raise UserError("maps of pixels do not fit into a .csv; take an .npz")


COLUMNS = (Column("mean_iou", "mean IoU, %", INTERVAL), Column("correct", "pixels right, %"))
BOUNDARY = Column("boundary_mean_iou", "boundary IoU, %")

SEGMENTATION = Task(
    name="segmentation",
    labels="a class for each pixel",
    one_class=False,
    by_image=False,
    exclusive=True,
    stratification=MAPS,
    label_shape=lambda shape: shape[:-1],
    targets=targets,
    members=members,
    label_columns=_no_columns,
    to_columns=_no_columns,
    from_columns=_no_columns,
    loss=loss,
    probabilities=probabilities,
    logits=jnp.log,
    right=right,
    answers=answers,
    counts=counts,
    columns=COLUMNS,
    scores=scores,
    likelihood=lambda probabilities, labels: {"negative_log_likelihood": float(losses(probabilities, labels).mean())},
    metrics=lambda _, labels, answers, classes, *__: metrics.figures(answers, labels, classes),
    metric_columns=(*COLUMNS, BOUNDARY, Column("iou", "IoU, %")),
    severity=losses,
    severity_name="loss",
    no_label=NOT_COUNTED,
    decoder="masks",
    class_counts=class_counts,
    entries=entries,
    view_targets=view_targets,
    pseudo_labels=pseudo_labels,
    guesses=guesses,
    labelled_share=lambda targets: targets.sum(-1).mean((1, 2)),
    resized=resized,
    test_figures=lambda _, labels, answers, classes, *__: metrics.boundary_figures(answers, labels, classes),
    image_scores=image_scores,
)
