"""What a task is: pure functions that define labels, loss, predicted labels and metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from efficient_jax.data.stratification import Stratification
from efficient_jax.tasks.selected_images import Selection
from efficient_jax.types import Batch, Column, Example

Names = tuple[str, ...] | None
"""The names of the classes of one image; None where it has no label."""


class Head(NamedTuple):
    """The functions of a task with which a linear head is fitted to features, in numpy on the host.

    loss(logits, targets)          -> (sum of the losses in float64, gradient by the logits), both [n classes]
    mean_loss(logits, targets)     -> their mean over the examples, up to a constant factor
    probabilities(logits)          -> of the same shape [*b classes]
    prior(targets)                 -> targets of an example without information, [n 1] or a number
    strata(targets)                -> (the group of each example by which folds are stratified, int [n]; whether it is
                                      the only one of a group that must be trained on, bool [n])
    score(predictions, targets)    -> 0..1, higher is better; raises UserError without any label
    """

    loss: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]
    mean_loss: Callable[[np.ndarray, np.ndarray], float]
    probabilities: Callable[[np.ndarray], np.ndarray]
    prior: Callable[[np.ndarray], np.ndarray | float]
    strata: Callable[[np.ndarray], tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]]
    score: Callable[[np.ndarray, np.ndarray], float]
    score_name: str  # name of the score in messages
    threshold: float  # ridge predicts a class from here on; 0.0: it predicts the largest


def _no_entries(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns nothing: an example has its vector of classes only.

    Args:
        labels: not used.
    """
    del labels
    return {}


def _labels_of_source(labels: np.ndarray, objects: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the labels of a source as they are.

    Args:
        labels: of n images.
        objects: not used.
    """
    del objects
    return labels


def _whole(label: np.ndarray) -> np.ndarray:
    """Returns the label of an image as it is.

    Args:
        label: of one image.
    """
    return label


def _replaced(labels: np.ndarray, ids: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Returns labels in which some images have other ones.

    Args:
        labels: of n images.
        ids: indices of m images.
        made: their labels.
    """
    labels = labels.copy()
    labels[ids] = made
    return labels


def _as_they_are(labels: np.ndarray, before: tuple[int, int], size: int) -> np.ndarray:
    """Returns the labels, which do not depend on the size of images.

    Args:
        labels: of n images.
        before: not used.
        size: not used.
    """
    del before, size
    return labels


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the largest difference of two arrays of probabilities.

    Args:
        one: of n images.
        other: of the same images.
    """
    return float(np.abs(one - other).max())


@dataclass(frozen=True)
class Task:
    """What a label is and how predictions are evaluated: no other code depends on which task it is.

    Arrays on the host are numpy, those in the step are traced. In shapes n is the number of images and k the number of
    classes; labels [n ...] are of the shape `label_shape`, `no_label` in the whole row of an image without a label.
    Answers are predicted labels, of the same shape.
    """

    name: str  # its key in `TASKS`
    labels: str  # what an image has, for messages: "one class"
    one_class: bool  # an image has one class, so that there is a confusion matrix, and balanced classes
    by_image: bool  # an image is right or wrong as a whole, and not pixel by pixel
    exclusive: bool  # probabilities sum to 1, so that there are hard votes and a softmax

    stratification: Stratification  # how a dataset is split by its labels
    label_shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    """(shape of probabilities) -> shape of the labels of the same images."""
    targets: Callable[[np.ndarray, int], Float[np.ndarray, "n ..."]]
    """(labels, k) -> float32 targets of the loss, zeros where the label is -1."""
    members: Callable[[np.ndarray, int], Bool[np.ndarray, "n k"]]
    """(labels, k) -> whether an image has a class; False for images without a label."""
    label_columns: Callable[[Sequence[str]], list[str]]
    """(class names) -> headers of the columns of a CSV file that hold the label of an image."""
    to_columns: Callable[[np.ndarray, Sequence[str]], list[Sequence[Any]]]
    """(labels, class names) -> these columns, one value for each image."""
    from_columns: Callable[[Sequence[Sequence[str]], Sequence[str]], np.ndarray]
    """(these columns as text, class names) -> int32 labels; raises ValueError or KeyError for text that is no label."""

    loss: Callable[..., Float[Array, " b"]]
    """(logits, targets, label_smoothing=0.0) -> loss of each example; with a fourth parameter `weights` [k] of classes
    where the task can weigh them, and a keyword `dice_weight` where it has masks."""
    probabilities: Callable[[Float[Array, "*b k"]], Float[Array, "*b k"]]
    """(logits) -> float32 probabilities."""
    logits: Callable[[Float[Array, "*b k"]], Float[Array, "*b k"]]
    """(probabilities) -> logits with these probabilities."""
    right: Callable[[Array, Array], Float[Array, " b"]]
    """(logits, targets) -> 1.0 for each example that is right, else 0.0 (or a share)."""

    answers: Callable[[np.ndarray, Sequence[float]], np.ndarray]
    """(probabilities, thresholds) -> int answers, of the shape of labels."""
    counts: Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, Any]]
    """(probabilities, labels, answers) -> "correct" and "n", and the figures that `scores` and `columns` name."""
    columns: tuple[Column, ...]  # the figures of `counts` that tables and pages of trained stages show
    scores: Callable[[Mapping[str, Any]], dict[str, float]]
    """(counts) -> the figures of a validation set that are logged; the first one selects the checkpoint, the newest is
    taken where there is none."""
    likelihood: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    """(probabilities, labels) -> "negative_log_likelihood", and "calibration_error" where there is one."""
    metrics: Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence[str], bool], dict[str, Any]]
    """(probabilities, labels, answers, class names, whether the probabilities are shares of votes) -> all metrics."""
    metric_columns: tuple[Column, ...]  # the figures of `metrics` that tables of evaluated members show
    severity: Callable[[np.ndarray, np.ndarray], Float[np.ndarray, " n"]]
    """(probabilities, labels) -> severity of a wrong prediction; the most severe ones are shown first."""
    severity_name: str  # what it is: "confidence" or "loss"

    thresholds: Callable[[np.ndarray, np.ndarray], Float[np.ndarray, " k"]] | None = None
    """(probabilities, labels) of a validation set, which may be empty -> probability from which on a class is
    predicted; None for tasks without thresholds."""
    class_counts: Callable[[np.ndarray, int], Float[np.ndarray, " k"]] | None = None
    """(labels of labelled images, k) -> how many images are of each class, by which rare ones are weighed, where an
    image counts in parts; None: as many as have it."""
    pseudo_labels: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    """(probabilities of a teacher, seed, settings by keyword) -> (targets, copies int32 [n], 0 where the image is not
    kept); None for tasks without pseudo-labels."""
    selected: Callable[..., Selection] | None = None
    """(confidence [n], predicted class [n], k, seed, settings of `pseudo_labels` by keyword) -> what
    `pseudo_labels` keeps; None where that depends on all probabilities of an image."""
    confidence: Callable[[np.ndarray], Float[np.ndarray, "n k"]] | None = None
    """(probabilities) -> probability that each class is as predicted."""
    decided: Callable[[np.ndarray, float], Bool[np.ndarray, "n k"]] | None = None
    """(probabilities or targets, threshold) -> for which classes of an image a pseudo-label is certain."""
    calibrated: Callable[..., dict[str, float]] | None = None
    """(probabilities and labels of the validation set, probabilities and labels of the test set) -> the temperature
    that is fitted to the former, and metrics of the latter with it."""
    head: Head | None = None  # None where no linear head can be fitted
    no_label: int = -1
    probable: bool = True  # whether predictions are probabilities; else they are boxes with scores
    decoder: str = ""  # what follows the backbone, a name of `models.dense.DECODERS`; "": its own head
    apart: Callable[[np.ndarray, np.ndarray], float] = _apart
    """(predictions, predictions of the same images by another program) -> how much they differ at most."""
    entries: Callable[[np.ndarray], dict[str, np.ndarray]] = _no_entries
    """(labels) -> what an example has of them beside the vector of classes, by the names of `types.Example`: it moves
    with the image."""
    view_targets: Callable[[Batch], Float[Array, "b ..."]] | None = None
    """(augmented examples) -> targets of the loss; None: their vectors of classes."""
    guesses: Callable[[Array, float], Example] | None = None
    """(logits, threshold) -> `entries` of what a network predicts with at least this probability, in the step."""
    labelled_share: Callable[[Array], Float[Array, " b"]] | None = None
    """(targets of views) -> share of each that has a label, in 0..1."""
    of_source: Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray] = _labels_of_source
    """(labels of a source, its objects) -> labels of the task."""
    trimmed: Callable[[np.ndarray], np.ndarray] = _whole
    """(label of one image) -> without what fills it up to the size of the others."""
    replaced: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = _replaced
    """(labels, indices of images, labels that they get) -> all labels."""
    resized: Callable[[np.ndarray, tuple[int, int], int], np.ndarray] = _as_they_are
    """(labels, height and width before, side of the square images, in pixels) -> labels of resized images."""

    test_figures: Callable[..., dict[str, Any]] | None = None
    """(predictions, labels, answers, class names, area of a pixel of each image in pixels of the original or None) ->
    figures of test images beside `counts`, which pages show and short tables do not; None: there are none."""
    image_scores: Callable[[np.ndarray, np.ndarray, int], Float[np.ndarray, " n"]] | None = None
    """(answers, labels, k) -> score of each image, higher is better, by which networks are compared image by image; NaN
    for an image without a label. None: 1.0 where it is right, else 0.0."""

    @property
    def by_pixel(self) -> bool:
        """Whether each pixel has probabilities: they are many, so that images are judged one by one, see
        `files.entries`."""
        return self.probable and not self.by_image

    def scored(self, answers: np.ndarray, labels: np.ndarray, classes: int) -> Float[np.ndarray, " n"]:
        """Returns the score of each image, higher is better, see `image_scores`.

        Args:
            answers: predicted labels, as from the field `answers`.
            labels: of the same images and shape.
            classes: number of classes.
        """
        if self.image_scores:
            return self.image_scores(answers, labels, classes)
        return self.correct(answers, labels).astype(np.float64)

    def correct(self, answers: np.ndarray, labels: np.ndarray) -> Bool[np.ndarray, " n"]:
        """Returns which images are predicted correctly as a whole.

        Args:
            answers: predicted labels, as from the field `answers`.
            labels: of the same images and shape.
        """
        right: np.ndarray = np.all(answers == labels, axis=tuple(range(1, labels.ndim)))
        return right

    def known(self, labels: np.ndarray) -> Bool[np.ndarray, " n"]:
        """Returns which images have a label.

        Args:
            labels: labels of n images.
        """
        known: np.ndarray = np.any(labels != self.no_label, axis=tuple(range(1, labels.ndim)))
        return known

    def names(self, labels: np.ndarray, classes: Sequence[str]) -> list[Names]:
        """Returns the names of the classes that each image has.

        Args:
            labels: labels of n images.
            classes: name of each class.

        Returns: one tuple of names per image, None where it has no label.
        """
        return [
            tuple(name for name, member in zip(classes, row, strict=True) if member) if known else None
            for row, known in zip(self.members(labels, len(classes)), self.known(labels), strict=True)
        ]

    def unknown(self, shape: tuple[int, ...]) -> Int[np.ndarray, "n ..."]:
        """Returns the labels of images without a label, int32.

        Args:
            shape: of the probabilities of these images, (n, ..., classes).
        """
        return np.full(self.label_shape(shape), self.no_label, np.int32)
