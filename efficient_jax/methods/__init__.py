"""Methods by name; the step, the loop and the checkpoint are the same for all of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from efficient_jax.methods.distill import distill
from efficient_jax.methods.noisy_student import noisy_student, pseudo_labels
from efficient_jax.methods.supervised import supervised
from efficient_jax.training.step import LossFn


class Method(NamedTuple):
    """A loss function, and what it needs."""

    loss: Callable[..., LossFn]  # of (apply, augment), the teacher's apply where `frozen_teacher`, and settings
    unlabelled: bool = False  # learns from the stream "unlabelled" too
    label: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None  # a teacher's labels, made before training
    frozen_teacher: bool = False  # runs the teacher in every step, its variables in frozen["teacher"]

    @property
    def needs_teacher(self) -> bool:
        return self.frozen_teacher or self.label is not None


METHODS = {
    "supervised": Method(supervised),
    "noisy_student": Method(noisy_student, unlabelled=True, label=pseudo_labels),
    "distill": Method(distill, unlabelled=True, frozen_teacher=True),
}
