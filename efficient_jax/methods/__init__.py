"""Methods by name; the step, the loop and the checkpoint are the same for all of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from efficient_jax.methods.distill import distill
from efficient_jax.methods.feature_distill import feature_distill, regressors
from efficient_jax.methods.fixmatch import fixmatch
from efficient_jax.methods.flexmatch import flexmatch, memory
from efficient_jax.methods.linear_head import Choice
from efficient_jax.methods.linear_probe import linear_probe
from efficient_jax.methods.mean_teacher import mean_teacher
from efficient_jax.methods.multi_label import multi_label
from efficient_jax.methods.multi_label_student import multi_label_pseudo_labels, multi_label_student
from efficient_jax.methods.noisy_student import noisy_student, pseudo_labels
from efficient_jax.methods.prior_correction import prior_correction
from efficient_jax.methods.pseudo_label import pseudo_label
from efficient_jax.methods.supervised import supervised
from efficient_jax.methods.uda import uda
from efficient_jax.training.step import LossFn
from efficient_jax.types import Tree


def no_loss(*_: object) -> LossFn:
    raise TypeError("a method that fits has no loss")


class Method(NamedTuple):
    """A loss function, and what it needs; or, in place of updates, a fit or a correction."""

    loss: Callable[..., LossFn] = no_loss  # of (apply, augment), what the fields below add, settings
    fit: Callable[..., Choice] | None = None  # a head for the features of a network that stays as it is
    correct: Callable[..., np.ndarray] | None = None  # what to add to its logits, by its unlabelled images
    unlabelled: bool = False  # learns from the stream "unlabelled" too
    label: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None  # a teacher's labels, made before training
    strong: bool = False  # augments unlabelled images a second time, with the stage's `strong_augment`
    mixes: bool = True  # whether the augmentation may mix images: two views of one image must stay comparable
    saliency: bool = False  # computes the saliency of images for operations that ask for it, see `view.saliency_of`
    memory: Callable[[dict[str, np.ndarray], int], Tree] | None = None  # of (rows of each stream, images)
    frozen_teacher: bool = False  # runs its teachers in every step, their variables in frozen["teacher"]; their
    # labels are soft, and so it can do without images that people labelled
    parameters: Callable[..., Tree] | None = None  # what it trains beside the model, by both's intermediates
    any_classes: bool = False  # its teacher may know others, since nobody reads what it predicts
    labels: tuple[str, ...] = ("one class",)  # what it learns of each image: "one class", "several labels"

    @property
    def trains(self) -> bool:
        return not (self.fit or self.correct)

    @property
    def needs_teacher(self) -> bool:
        return self.frozen_teacher or self.label is not None


METHODS = {
    "supervised": Method(supervised, saliency=True),
    "noisy_student": Method(noisy_student, unlabelled=True, label=pseudo_labels, saliency=True),
    "multi_label": Method(multi_label, saliency=True, labels=("several labels",)),
    "multi_label_student": Method(
        multi_label_student,
        unlabelled=True,
        label=multi_label_pseudo_labels,
        saliency=True,
        labels=("several labels",),
    ),
    "linear_probe": Method(fit=linear_probe, labels=("one class", "several labels")),
    "prior_correction": Method(correct=prior_correction),
    "distill": Method(distill, unlabelled=True, frozen_teacher=True),
    "feature_distill": Method(
        feature_distill, unlabelled=True, frozen_teacher=True, parameters=regressors, any_classes=True
    ),
    "pseudo_label": Method(pseudo_label, unlabelled=True, mixes=False),
    "mean_teacher": Method(mean_teacher, unlabelled=True, mixes=False),
    "uda": Method(uda, unlabelled=True, strong=True, mixes=False),
    "fixmatch": Method(fixmatch, unlabelled=True, strong=True, mixes=False),
    "flexmatch": Method(flexmatch, unlabelled=True, strong=True, mixes=False, memory=memory),
}
