"""Distillation of a teacher's intermediate features: it may have other classes, widths and image sizes."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from efficient_jax.errors import UserError
from efficient_jax.losses.features import BATCH, attention, cosine, fitnet, same_size
from efficient_jax.methods import settings
from efficient_jax.methods.views import Keys, one_view, with_labels
from efficient_jax.settings import choose
from efficient_jax.tasks import CLASSIFICATION
from efficient_jax.training import parallel
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree

T = TypeVar("T")

MAPPED: dict[str, Callable[..., Array]] = {"fitnet": fitnet, "cosine": cosine}
"""Losses with a linear map of the student's features, which is trained too."""
LOSSES: dict[str, Callable[..., Array]] = {**MAPPED, "attention": attention, **BATCH}

Terms = tuple[tuple[str, float, str, str], ...]
"""(loss, weight, student's intermediate, teacher's intermediate) of each term."""


def feature_distill(
    apply: Apply, augment: Augment, teachers: tuple[Apply, ...], *, terms: Terms, hard_weight: float = 1.0
) -> LossFn:
    """Returns the loss of feature distillation.

    It is the weighted sum of `terms`, the mean over all images, plus `hard_weight` times the mean cross-entropy of the
    labelled images. A term is (loss, weight, student's intermediate, teacher's intermediate). The loss is "fitnet",
    "cosine", "attention", "similarity", "distance" or "angle" of `losses.features`; the intermediates have the names
    that the models give them. The published weights of the last four, 1000, 3000, 25 and 50, are for batches of 64 to
    128.

    "similarity", "distance" and "angle" compare the images of a batch with each other, on all devices together. The
    teacher, in evaluation mode, sees the student's view.

    Args:
        apply: the network.
        augment: the stage's augmentation.
        teachers: the network of the one teacher; its variables come in the context of a step.
        terms: one or more tuples (loss, weight above 0.0, student's intermediate, teacher's intermediate).
        hard_weight: weight of the labels, 0.0 or more; 0.0 needs no labelled images.

    Returns: a loss function whose metrics are "accuracy" of the labelled images and the mean loss of each term.

    Raises: UserError for a term that is malformed, for a negative weight, and for more or fewer than one teacher.
    """
    _check(terms, hard_weight)
    if len(teachers) != 1:
        raise UserError(f"teachers: {len(teachers)} are named, feature_distill learns from one")

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        seen, model_keys, n = one_view(augment, batch, keys)
        (logits, ours), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        (_, theirs), _ = teachers[0](context.teachers[0], seen["image"], False, None)
        total = float(len(logits))
        loss: Any  # an array from the first term on
        loss, metrics = with_labels(logits, seen["label"], n, hard_weight, CLASSIFICATION)
        for name, weight, student, teacher in terms:
            pair = _pair(ours, jax.lax.stop_gradient(theirs), student, teacher)
            if name in BATCH:
                of_all_devices = jax.lax.all_gather(pair, parallel.AXIS, tiled=True)
                own = jax.lax.axis_index(parallel.AXIS) * len(logits) + jnp.arange(len(logits), dtype=jnp.int32)
                losses = BATCH[name](*of_all_devices, own)
            else:
                regressor = params["regressor"][f"{student}-{teacher}"] if name in MAPPED else {}
                losses = LOSSES[name](*pair, **regressor)
            loss += weight * losses.sum()
            metrics[f"{name}_{student}"] = (losses.sum(), total)
        return loss, Aux(total, model_state, metrics)

    return loss_fn


def regressors(
    key: PRNGKeyArray,
    student: Mapping[str, jax.ShapeDtypeStruct],
    teacher: Mapping[str, jax.ShapeDtypeStruct],
    *,
    terms: Terms,
    hard_weight: float,
) -> Tree:
    """Returns the parameters that "fitnet" and "cosine" train beside the student: a linear map for each term.

    Its weight is not called `kernel`, so that it gets no weight decay, which would ask the student for larger features.

    Args:
        key: random key of the initial weights.
        student: shape of each intermediate of the student.
        teacher: shape of each intermediate of the teacher.
        terms: as in `feature_distill`.
        hard_weight: as in `feature_distill`; only checked.

    Returns: {"regressor": {"student's-teacher's intermediate": {"weight": [c d], "bias": [d]}}}, {} without these.

    Raises: UserError for a term that is malformed, names an unknown intermediate, or compares shapes that do not fit.
    """
    _check(terms, hard_weight)
    maps = {}
    for i, (name, _, ours, theirs) in enumerate(terms):
        a, b = _pair(student, teacher, ours, theirs)
        if name in MAPPED:
            c, d = a.shape[-1], b.shape[-1]
            weight = jax.random.normal(jax.random.fold_in(key, i), (c, d)) * c**-0.5
            maps[f"{ours}-{theirs}"] = {"weight": weight, "bias": jnp.zeros(d)}
        if name in (*MAPPED, "attention"):
            jax.eval_shape(same_size, a, b)
    return {"regressor": maps} if maps else {}


def _pair(ours: Mapping[str, T], theirs: Mapping[str, T], student: str, teacher: str) -> tuple[T, T]:
    where = "method.terms: intermediates of the "
    return choose(student, ours, f"{where}student"), choose(teacher, theirs, f"{where}teacher")


def _check(terms: Terms, hard_weight: float) -> None:
    for term in terms:
        match term:
            case (str() as name, float() | int() as weight, str(), str()) if weight > 0.0:
                choose(name, LOSSES, "method.terms")
                continue
        raise UserError(
            f"method.terms: {term!r} is not (loss, weight above 0.0, student's intermediate, teacher's intermediate)"
        )
    if not terms:
        raise UserError("method.terms: empty; want at least one (loss, weight, student's and teacher's intermediate)")
    settings.not_negative(hard_weight, "hard_weight")
