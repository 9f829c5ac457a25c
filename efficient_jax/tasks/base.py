"""What a task is: the pure functions that say what a label is and how an answer is judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

Names = tuple[str, ...] | None
"""The classes of one image; None where nobody has labelled it."""


class Column(NamedTuple):
    """A column of a table of results."""

    header: str
    key: str  # name of the figure
    form: str = ".2f"  # format of the number
    factor: float = 100.0  # what the figure is multiplied by, 100 for a share that is shown in percent


class Head(NamedTuple):
    """What fitting a linear head to features needs to know of a task, in numpy on the host.

    loss(logits, targets)          -> (sum of the losses in float64, gradient by the logits), both [n classes]
    mean_loss(logits, targets)     -> their mean over the examples, up to a constant factor
    probabilities(logits)          -> of the same shape [*b classes]
    prior(targets)                 -> what an example without information would have as targets, [n 1] or a number
    strata(targets)                -> (the group of each example by which folds are stratified, int [n]; whether it is
                                      the only one of a group that must be trained on, bool [n])
    score(predictions, targets)    -> how good they are, higher is better, 0..1; raises UserError without any label
    """

    loss: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]
    mean_loss: Callable[[np.ndarray, np.ndarray], float]
    probabilities: Callable[[np.ndarray], np.ndarray]
    prior: Callable[[np.ndarray], np.ndarray | float]
    strata: Callable[[np.ndarray], tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]]
    score: Callable[[np.ndarray, np.ndarray], float]
    score_name: str  # how a message calls the score
    threshold: float  # regression to targets of 0 and 1 answers a class from here on; 0.0: the largest is answered


@dataclass(frozen=True)
class Task:
    """What a label is and how an answer is judged: nobody else asks which task it is.

    Arrays on the host are numpy, those in the step are traced. In shapes n is the number of images and k the number of
    classes; labels [n ...] are of the shape `label_shape`, -1 in the whole row where nobody has labelled the image.
    """

    name: str  # its key in `TASKS`
    labels: str  # what an image has, for messages: "one class"
    one_class: bool  # an answer is one class, so that classes can be confused, balanced and compared between models
    by_image: bool  # an image is answered rightly or wrongly as a whole, and not pixel by pixel
    exclusive: bool  # probabilities of an answer sum to 1, so that hard votes and a softmax have a meaning

    label_shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    """(shape of probabilities) -> shape of the labels of the same images."""
    targets: Callable[[np.ndarray, int], Float[np.ndarray, "n ..."]]
    """(labels, k) -> float32 targets of the loss, zeros where the label is -1."""
    members: Callable[[np.ndarray, int], Bool[np.ndarray, "n k"]]
    """(labels, k) -> which images are known to have which classes."""
    label_columns: Callable[[Sequence[str]], list[str]]
    """(class names) -> headers of the columns of a CSV file that hold the label of an image."""
    to_columns: Callable[[np.ndarray, Sequence[str]], list[Sequence[Any]]]
    """(labels, class names) -> these columns, one value for each image."""
    from_columns: Callable[[Sequence[Sequence[str]], Sequence[str]], np.ndarray]
    """(these columns as text, class names) -> int32 labels; raises ValueError or KeyError for text that is no label."""

    loss: Callable[..., Float[Array, " b"]]
    """(logits, targets, label_smoothing=0.0) -> loss of each example; with a fourth parameter `weights` [k] of classes
    where the task can weigh them."""
    probabilities: Callable[[Float[Array, "*b k"]], Float[Array, "*b k"]]
    """(logits) -> float32 probabilities."""
    logits: Callable[[Float[Array, "*b k"]], Float[Array, "*b k"]]
    """(probabilities) -> logits with these probabilities."""
    right: Callable[[Array, Array], Float[Array, " b"]]
    """(logits, targets) -> 1.0 for each example that is answered rightly, else 0.0 (or a share)."""

    answers: Callable[[np.ndarray, Sequence[float]], np.ndarray]
    """(probabilities, thresholds) -> int answers, of the shape of labels."""
    counts: Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, Any]]
    """(probabilities, labels, answers) -> "correct" and "n", and the figures that `scores` and `columns` name."""
    scores: Callable[[Mapping[str, Any]], dict[str, float]]
    """(counts) -> the figures of a validation set that are logged; the first one selects the checkpoint."""
    likelihood: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    """(probabilities, labels) -> "negative_log_likelihood", and "calibration_error" where there is one."""
    metrics: Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence[str], bool], dict[str, Any]]
    """(probabilities, labels, answers, class names, whether the probabilities are shares of votes) -> all metrics."""
    severity: Callable[[np.ndarray, np.ndarray], Float[np.ndarray, " n"]]
    """(probabilities, labels) -> how bad it is of each image to be wrong; the worst mistakes are shown first."""
    severity_name: str  # what that is, "confidence" or "loss"

    headline: str  # what the share correct / n is called: "accuracy"
    columns: tuple[Column, ...] = ()  # figures of `counts` that the table of stages shows beside it
    metric_columns: tuple[Column, ...] = ()  # figures of `metrics` that `evaluate` shows beside it

    thresholds: Callable[[np.ndarray, np.ndarray], Float[np.ndarray, " k"]] | None = None
    """(probabilities, labels) of a validation set, perhaps of no image -> probability from which on a class is
    answered; None where answers have no thresholds."""
    pseudo_labels: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    """(probabilities, seed, settings by keyword) of a teacher -> (targets, copies int32 [n], 0 where the image is not
    kept); None where there are none."""
    confidence: Callable[[np.ndarray], Float[np.ndarray, "n k"]] | None = None
    """(probabilities) -> how sure each class is to be as answered."""
    decided: Callable[[np.ndarray, float], Bool[np.ndarray, "n k"]] | None = None
    """(probabilities or targets, threshold) -> which classes of an image a pseudo-label decides on."""
    calibrated: Callable[..., dict[str, float]] | None = None
    """(probabilities and labels of the validation set, probabilities and labels of the test set) -> what a temperature
    that is fitted to the former makes of the latter."""
    head: Head | None = None  # None where no linear head can be fitted

    def correct(self, answers: np.ndarray, labels: np.ndarray) -> Bool[np.ndarray, " n"]:
        """Returns which images are answered rightly as a whole.

        Args:
            answers: as from the field `answers`.
            labels: of the same images and shape.
        """
        return np.all(answers == labels, axis=tuple(range(1, labels.ndim)))

    def known(self, labels: np.ndarray) -> Bool[np.ndarray, " n"]:
        """Returns which images somebody has labelled.

        Args:
            labels: of n images.
        """
        return np.all(labels >= 0, axis=tuple(range(1, labels.ndim)))

    def names(self, labels: np.ndarray, classes: Sequence[str]) -> list[Names]:
        """Returns the names of the classes that each image has.

        Args:
            labels: of n images.
            classes: name of each class.

        Returns: one tuple of names per image, None where nobody has labelled it.
        """
        return [
            tuple(name for name, member in zip(classes, row, strict=True) if member) if known else None
            for row, known in zip(self.members(labels, len(classes)), self.known(labels), strict=True)
        ]

    def unknown(self, count: int, classes: int) -> Int[np.ndarray, "n ..."]:
        """Returns the labels of images that nobody has labelled, int32, all -1.

        Args:
            count: number of images.
            classes: number of classes.
        """
        return np.full(self.label_shape((count, classes)), -1, np.int32)
