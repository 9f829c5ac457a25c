"""The teachers of a stage: their networks and variables, with logits of the student's classes."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from efficient_jax.errors import UserError
from efficient_jax.experiment import class_map, initialise
from efficient_jax.experiment.run import Run, description_of, image_shape
from efficient_jax.experiment.stage_config import Stage
from efficient_jax.methods import METHODS
from efficient_jax.tasks import TASKS
from efficient_jax.training import trained
from efficient_jax.types import Apply, Tree

NOTHING: dict[str, Tree] = {}


def teachers_of(
    stage: Stage, run: Run, earlier: Mapping[str, Tree] = NOTHING
) -> tuple[tuple[Apply, ...], tuple[Tree, ...]]:
    """(applies, variables) of the teachers, with logits of the student's classes. `earlier` has shapes of variables of
    the stages that may not be trained yet. Raises: UserError for one whose classes or images are others."""
    stages = {other.name: other for other in run.stages}
    applies, trees = [], []
    for name in stage.teachers:
        if name in earlier:
            description, variables = description_of(stages[name], run), earlier[name]
            apply = trained.build(description)[1]
        else:
            variables, description = run.restored(initialise.folder(name, run.workdir), stage.where_teachers)
            apply = trained.build(description)[1]
        applies.append(_teaching(stage, run, name, apply, description))
        trees.append(variables)
    return tuple(applies), tuple(trees)


def _teaching(stage: Stage, run: Run, name: str, apply: Apply, description: Mapping[str, Any]) -> Apply:
    """The `apply` of the teacher `name`, whose logits are of the student's classes where they are read."""
    where = stage.where_teachers
    theirs, ours = tuple(description["classes"]), run.source.classes
    shape = tuple(description["image_shape"])
    if METHODS[stage.method[0]].pseudo_labels:
        apply = _resizing(apply, shape)
    elif shape != image_shape(stage, run):
        raise UserError(
            f"{where}: {name!r} knows images {list(shape)} and would see those of the stage, "
            f"{list(image_shape(stage, run))}; set config.{stage.name}.size"
        )
    if METHODS[stage.method[0]].any_classes:
        return apply
    if description["task"] != run.source.task:
        predicted, wanted = (TASKS[task].labels for task in (description["task"], run.source.task))
        raise UserError(f"{where}: {name!r} predicts {predicted} for each image, not {wanted}")
    if stage.class_map:
        return class_map.mapped(apply, stage.class_map, theirs, ours, f"config.{stage.name}.class_map")
    if theirs != ours:
        raise UserError(
            f"{where}: {name!r} knows the classes {list(theirs)}, the data has {list(ours)}; say which mean which "
            f"with config.{stage.name}.class_map, or take the method 'feature_distill'"
        )
    return apply


def _resizing(apply: Apply, shape: tuple[int, ...]) -> Apply:
    """`apply` of a network that knows images of `shape`, for others too."""

    def resizing(variables: Tree, images: Array, train: bool, keys: Array | None) -> tuple:
        if images.shape[1:] != shape:
            wide = jax.image.resize(images.astype(np.float32), (len(images), *shape), "cubic")
            images = wide.round().clip(0, 255).astype(np.uint8)
        return apply(variables, images, train, keys)

    return resizing
