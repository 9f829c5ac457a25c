"""What a method is: a loss function whose signature says what it needs; or a fit or a correction without steps."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from efficient_jax.methods.linear_head import Choice
from efficient_jax.tasks import Task
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Tree


class Method(NamedTuple):
    """One of `loss`, `fit` and `correct`, and what cannot be read off its signature.

    Parameters that are not keyword-only are what the stage gives: `apply`, `augment`, `strong_augment` (a second,
    stronger augmentation of unlabelled images), `teachers` (networks that run in every step; their labels are soft, so
    that the method can do without labelled images), `task` (what a label is: a method with it serves every task, others
    classification only). Keyword-only parameters are the settings of the config's block.
    """

    loss: Callable[..., LossFn] | None = None
    fit: Callable[..., Choice] | None = None  # a head for the features of a network that stays as it is
    correct: Callable[..., np.ndarray] | None = None  # what to add to its logits, by its unlabelled images
    unlabelled: bool = False  # learns from the stream "unlabelled" too
    pseudo_labels: bool = False  # learns a teacher's labels, which the task makes before training
    mixes: bool = True  # whether the augmentation may mix images: two views of one image must stay comparable
    saliency: bool = False  # computes the saliency of images for operations that ask for it, see `views.saliency_of`
    memory: Callable[[dict[str, np.ndarray], int], Tree] | None = None  # of (rows of each stream, images)
    parameters: Callable[..., Tree] | None = None  # what it trains beside the model, by both's intermediates
    any_classes: bool = False  # its teacher may know others, since nobody reads what it predicts

    @property
    def function(self) -> Callable[..., Any]:
        function = self.loss or self.fit or self.correct
        assert function, "a method has a loss, a fit or a correction"
        return function

    @property
    def trains(self) -> bool:
        return self.loss is not None

    def needs(self, name: str) -> bool:
        """Whether its function has a parameter called `name`."""
        return name in inspect.signature(self.function).parameters

    @property
    def needs_teacher(self) -> bool:
        return self.needs("teachers") or self.pseudo_labels


def build_loss(
    method: Method,
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    teachers: tuple[Apply, ...],
    task: Task,
    settings: Mapping[str, Any],
) -> LossFn:
    """Returns the loss function of a method that trains.

    Args:
        method: has a `loss`.
        apply: the network that is trained.
        augment: the stage's augmentation.
        strong_augment: its second one; read by methods that need it.
        teachers: the teachers' networks; read by methods that need them.
        task: what the labels are; read by methods that serve every task.
        settings: the keyword-only parameters of the method's loss.
    """
    assert method.loss, "a method that fits has no loss"
    available = {"apply": apply, "augment": augment, "strong_augment": strong_augment, "teachers": teachers}
    available["task"] = task
    needed = {name: value for name, value in available.items() if method.needs(name)}
    return method.loss(**needed, **settings)
