"""What a method is: a loss that is trained, a fit or a correction, whose signature says what it needs."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from efficient_jax.methods.linear_probe import Probe
from efficient_jax.tasks import Task
from efficient_jax.training.loss import LossFn
from efficient_jax.types import Apply, Augment, Batch, Saliency, Tree


class Method(NamedTuple):
    """One function, `loss`, `fit` or `correct`, and what its signature does not say.

    Its positional parameters come from the stage: `apply` or `encode` (the network; `encode` is one that can be given a
    part of the patches of images), `augment`, `strong_augment` (a second, stronger augmentation for unlabelled images),
    `teachers` (networks that run in every step; the method then needs no labelled images) and `task` (what the labels
    are; a method without it is for images with one class each). Its keyword-only parameters are
    the settings of the config's block `method`.
    """

    loss: Callable[..., LossFn] | None = None
    fit: Callable[..., Probe] | None = None  # fits a head to the features of a frozen network
    correct: Callable[..., np.ndarray] | None = None
    """(`frequencies` of the classes of labelled images; `probabilities` of unlabelled ones, if it has this parameter)
    -> bias of the logits"""
    unlabelled: bool = False  # reads the stream "unlabelled"
    pseudo_labels: bool = False  # learns labels that the task makes of a teacher's predictions
    mixes: bool = True  # whether the augmentation may mix images, which leaves no two views of one image
    saliency: bool = False  # computes the saliency that some operations need, see `views.saliency_of`
    memory: Callable[[dict[str, np.ndarray], int, int], Tree] | None = None
    """(indices of the images of each stream, number of images, number of classes) -> memory before the first step"""
    parameters: Callable[..., Tree] | None = None  # what it trains beside the model, see `regressors`
    labels: bool = True  # whether it learns labels, of people or teachers; else it learns features
    fits: Callable[[Task], bool] | None = None
    """Returns whether it is for a task; None: for all if it has a parameter `task`, else for one class per image."""
    any_classes: bool = False  # whether the teacher may have other classes: only its features are read

    @property
    def function(self) -> Callable[..., Any]:
        """The one of `loss`, `fit` and `correct` that the method has."""
        function = self.loss or self.fit or self.correct
        assert function, "a method has a loss, a fit or a correction"
        return function

    @property
    def trains(self) -> bool:
        """Whether the method trains in steps."""
        return self.loss is not None

    def needs(self, name: str) -> bool:
        """Returns whether the method's function has a parameter of this name.

        Args:
            name: of a parameter.
        """
        return name in inspect.signature(self.function).parameters

    def trains_head(self, settings: Mapping[str, Any]) -> bool:
        """Returns whether the loss reaches the head. Where not, one is fitted to the labelled images after training.

        Args:
            settings: of the method.
        """
        return self.labels and (not self.any_classes or settings["hard_weight"] > 0.0)

    @property
    def needs_teacher(self) -> bool:
        """Whether a stage with this method needs teachers."""
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
        method: one that trains.
        apply: the network that is trained.
        augment: the stage's augmentation.
        strong_augment: the stage's second augmentation; for methods that need it.
        teachers: the teachers' networks; for methods that need them.
        task: what the labels are; for methods that serve every task.
        settings: the keyword-only parameters of the method's loss.

    Raises: UserError for settings out of range.
    """
    assert method.loss, "a method that fits has no loss"
    forward = jax.named_scope("forward")  # names in a trace, see `training.profiling`
    available = {"apply": forward(apply), "encode": forward(apply), "teachers": tuple(map(forward, teachers))}
    for name, view in (("augment", augment), ("strong_augment", strong_augment)):
        available[name] = jax.named_scope("augment")(with_targets(view, task))
    available["task"] = task
    needed = {name: value for name, value in available.items() if method.needs(name)}
    return method.loss(**needed, **settings)


def with_targets(augment: Augment, task: Task) -> Augment:
    """Returns an augmentation whose views have the targets of the task as their "label".

    Args:
        augment: of a batch.
        task: what the labels are.
    """
    targets = task.view_targets
    if not targets:
        return augment

    def view(keys: Key[Array, " b"], batch: Batch, saliency: Saliency | None = None) -> Batch:
        seen = augment(keys, batch, saliency)
        return seen | {"label": targets(seen)}

    return view
