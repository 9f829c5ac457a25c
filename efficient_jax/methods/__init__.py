"""Methods by name; the step, the loop and the checkpoint are the same for all of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from efficient_jax.linear_head import Choice
from efficient_jax.methods.distill import distill
from efficient_jax.methods.linear_probe import linear_probe
from efficient_jax.methods.multi_label import multi_label
from efficient_jax.methods.multi_label_student import multi_label_pseudo_labels, multi_label_student
from efficient_jax.methods.noisy_student import noisy_student, pseudo_labels
from efficient_jax.methods.supervised import supervised
from efficient_jax.training.step import LossFn


def no_loss(*_: object) -> LossFn:
    raise TypeError("a method that fits has no loss")


class Method(NamedTuple):
    """A loss function, and what it needs; or, in place of updates, a fit."""

    loss: Callable[..., LossFn] = no_loss  # of (apply, augment), a teacher's apply if `frozen_teacher`, settings
    fit: Callable[..., Choice] | None = None  # a head for the features of a network that stays as it is
    unlabelled: bool = False  # learns from the stream "unlabelled" too
    label: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None  # a teacher's labels, made before training
    frozen_teacher: bool = False  # runs the teacher in every step, its variables in frozen["teacher"]
    labels: tuple[str, ...] = ("one class",)  # what it learns of each image: "one class", "several labels"

    @property
    def needs_teacher(self) -> bool:
        return self.frozen_teacher or self.label is not None


METHODS = {
    "supervised": Method(supervised),
    "noisy_student": Method(noisy_student, unlabelled=True, label=pseudo_labels),
    "multi_label": Method(multi_label, labels=("several labels",)),
    "multi_label_student": Method(
        multi_label_student, unlabelled=True, label=multi_label_pseudo_labels, labels=("several labels",)
    ),
    "linear_probe": Method(fit=linear_probe, labels=("one class", "several labels")),
    "distill": Method(distill, unlabelled=True, frozen_teacher=True),
}
