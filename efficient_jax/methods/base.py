"""What a method is: a loss function, and what it needs; or a fit or a correction in place of updates."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from efficient_jax.methods.linear_head import Choice
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Tree


def no_loss(*_: object) -> LossFn:
    raise TypeError("a method that fits has no loss")


class Method(NamedTuple):
    """A loss function, and what it needs; or, in place of updates, a fit or a correction."""

    loss: Callable[..., LossFn] = no_loss  # of (apply, augment), what the fields below add, settings
    fit: Callable[..., Choice] | None = None  # a head for the features of a network that stays as it is
    correct: Callable[..., np.ndarray] | None = None  # what to add to its logits, by its unlabelled images
    unlabelled: bool = False  # learns from the stream "unlabelled" too
    pseudo_labels: bool = False  # learns a teacher's labels, which the task makes before training
    strong: bool = False  # augments unlabelled images a second time, with the stage's `strong_augment`
    mixes: bool = True  # whether the augmentation may mix images: two views of one image must stay comparable
    saliency: bool = False  # computes the saliency of images for operations that ask for it, see `views.saliency_of`
    memory: Callable[[dict[str, np.ndarray], int], Tree] | None = None  # of (rows of each stream, images)
    frozen_teacher: bool = False  # runs its teachers in every step, their variables in frozen["teacher"]; their
    # labels are soft, and so it can do without images that people labelled
    parameters: Callable[..., Tree] | None = None  # what it trains beside the model, by both's intermediates
    any_classes: bool = False  # its teacher may know others, since nobody reads what it predicts

    @property
    def trains(self) -> bool:
        return not (self.fit or self.correct)

    @property
    def needs_teacher(self) -> bool:
        """Whether a stage must name a teacher."""
        return self.frozen_teacher or self.pseudo_labels

    @property
    def takes_task(self) -> bool:
        """Whether it serves every task, which its signature says; else it serves classification only."""
        return "task" in inspect.signature(self.fit or self.correct or self.loss).parameters
