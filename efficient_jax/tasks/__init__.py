"""Tasks: what a label is and how predictions are evaluated. A new task is one file and one line here."""

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.data.dataset import Labelled
from efficient_jax.tasks.base import Head, Task
from efficient_jax.tasks.classification import CLASSIFICATION
from efficient_jax.tasks.detection import DETECTION
from efficient_jax.tasks.multi_label import MULTI_LABEL
from efficient_jax.tasks.segmentation import SEGMENTATION

TASKS: dict[str, Task] = {
    "classification": CLASSIFICATION,
    "multi_label": MULTI_LABEL,
    "segmentation": SEGMENTATION,
    "detection": DETECTION,
}

__all__ = [
    "CLASSIFICATION",
    "DETECTION",
    "MULTI_LABEL",
    "SEGMENTATION",
    "TASKS",
    "Head",
    "Task",
    "of_labels",
    "targets",
]


def of_labels(labels: np.ndarray) -> Task:
    """Returns the task of labels from a file of another program, by their shape.

    Args:
        labels: [n] for one class, [n k] for several labels, [n h w] for a class for each pixel.
    """
    return {1: CLASSIFICATION, 2: MULTI_LABEL}.get(labels.ndim, SEGMENTATION)


def targets(source: Labelled, ids: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m k"]:
    """Returns the vectors of classes of labelled images, float32: soft labels where the dataset has them.

    An image with pixels or objects of a class has 1.0 for it.

    Args:
        source: the dataset.
        ids: indices of labelled images.
    """
    if source.soft_labels is not None:
        soft_labels: np.ndarray = source.soft_labels[ids]
        return soft_labels
    return TASKS[source.task].members(source.labels[ids], len(source.classes)).astype(np.float32)
