"""A class for each pixel: labels int32 [n h w], the index of the class, 255 where a pixel has none."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from efficient_jax.data.stratification import MAPS
from efficient_jax.errors import UserError
from efficient_jax.losses.labels import cross_entropy
from efficient_jax.metrics.classification import NOT_COUNTED, of_pixels
from efficient_jax.tasks.base import Task
from efficient_jax.tasks.classification import answers, probabilities
from efficient_jax.types import Column

Labels = Int[np.ndarray, "n h w"]
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
    present: np.ndarray = np.any(targets(labels, classes), axis=(1, 2))
    return present


def loss(
    logits: Float[Array, "b h w k"], targets: Float[Array, "b h w k"], label_smoothing: float = 0.0
) -> Float[Array, " b"]:
    """Returns the mean cross entropy over the pixels of each image that have a class, in nats.

    Args:
        logits: of each pixel.
        targets: one distribution per pixel, zeros where it has no class.
        label_smoothing: see `losses.cross_entropy`.
    """
    counted = targets.sum(-1)
    pixels = counted * cross_entropy(logits, targets, label_smoothing)
    return pixels.sum((1, 2)) / jnp.maximum(counted.sum((1, 2)), 1.0)


def right(logits: Float[Array, "b h w k"], targets: Float[Array, "b h w k"]) -> Float[Array, " b"]:
    """Returns the share of right pixels of each image, of those that have a class.

    Args:
        logits: of each pixel.
        targets: one distribution per pixel, zeros where it has no class.
    """
    counted = targets.sum(-1)
    pixels = jnp.where(logits.argmax(-1) == targets.argmax(-1), counted, 0.0)
    return pixels.sum((1, 2)) / jnp.maximum(counted.sum((1, 2)), 1.0)


def all_metrics(
    probabilities: Probabilities, labels: Labels, answers: Labels, classes: Sequence[str], shares: bool
) -> dict[str, Any]:
    """Returns `metrics.classification.of_pixels`.

    Args:
        probabilities: not used.
        labels: true class index of each pixel.
        answers: predicted class index of each pixel.
        classes: name of each class.
        shares: not used.
    """
    del probabilities, shares
    return of_pixels(answers, labels, classes)


def counts(probabilities: Probabilities, labels: Labels, answers: Labels) -> dict[str, float]:
    """Returns "correct" and "n", in pixels, and "mean_iou".

    Args:
        probabilities: one distribution per pixel.
        labels: true class index of each pixel.
        answers: predicted class index of each pixel.
    """
    metrics = of_pixels(answers, labels, tuple(map(str, range(probabilities.shape[-1]))))
    return {name: metrics[name] for name in ("correct", "n", "mean_iou")}


def scores(counts: Mapping[str, Any]) -> dict[str, float]:
    """Returns the mean intersection over union, which selects the checkpoint.

    Args:
        counts: as from `counts`.
    """
    return {"mean_iou": counts["mean_iou"]}


def losses(probabilities: Probabilities, labels: Labels) -> Float[np.ndarray, " n"]:
    """Returns the mean of -log p(label) over the pixels of each image that have a class, in nats.

    Args:
        probabilities: one distribution per pixel.
        labels: true class index of each pixel.
    """
    counted = labels != NOT_COUNTED
    index = np.where(counted, labels, 0)[..., None]
    p = np.maximum(np.take_along_axis(probabilities, index, -1)[..., 0], np.finfo(np.float32).tiny)
    nll: np.ndarray = -(np.log(p, dtype=np.float64) * counted).sum((1, 2)) / np.maximum(counted.sum((1, 2)), 1)
    return nll


def _no_columns(*_: object) -> Any:
    raise UserError("maps of pixels do not fit into a .csv; take an .npz")


COLUMNS = (Column("mean_iou", "mean IoU, %"), Column("correct", "pixels right, %"))

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
    metrics=all_metrics,
    metric_columns=(*COLUMNS, Column("iou", "IoU, %")),
    severity=losses,
    severity_name="loss",
)
