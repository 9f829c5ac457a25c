"""The teachers of a stage: their networks and variables, with logits of the student's classes."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array

from efficient_jax.errors import UserError
from efficient_jax.experiment import class_map
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from efficient_jax.types import Apply, Tree

NOTHING: dict[str, Tree] = {}


def teachers_of(
    stage: StageConfig, run: Run, earlier: Mapping[str, Tree] = NOTHING
) -> tuple[tuple[Apply, ...], tuple[Tree, ...], tuple[int | None, ...]]:
    """Returns the teachers of a stage, with logits of the student's classes.

    Args:
        stage: the student.
        run: its run.
        earlier: stage -> shapes of its variables, of stages that need not be trained yet; taken in place of variables.

    Returns: (their functions, their variables, after which step of their training these were saved; None where that is
        not known).

    Raises: UserError for one whose classes or images are not those of the student.
    """
    applies, trees, steps = [], [], []
    for name in stage.teachers:
        if name in earlier:
            spec, variables, step = run.spec(run.plan.by_name[name]), earlier[name], None
        else:
            trained = run.trained(name, stage.where_teachers)
            spec, variables, step = trained.spec, trained.variables, trained.step
        applies.append(_teaching(stage, run, name, spec))
        trees.append(variables)
        steps.append(step)
    return tuple(applies), tuple(trees), tuple(steps)


def _teaching(stage: StageConfig, run: Run, name: str, spec: ModelSpec) -> Apply:
    """Returns the function of the teacher `name`, with logits of the student's classes where they are read."""
    _, apply = spec.build()
    where = stage.where_teachers
    teacher_classes, classes = spec.classes, run.data.source.classes
    shape, stage_shape = spec.image_shape, run.image_shape(stage)
    if stage.method.pseudo_labels:
        apply = _resizing(apply, shape)
    elif shape != stage_shape:
        raise UserError(
            f"{where}: {name!r} takes images {list(shape)}, but those of the stage are {list(stage_shape)}; set "
            f"config.{stage.name}.size"
        )
    if stage.method.any_classes:
        return apply
    predicted, wanted = TASKS[spec.task].labels, run.data.task.labels
    if spec.task != run.data.task.name:
        raise UserError(f"{where}: {name!r} predicts {predicted} for each image, not {wanted}")
    if stage.class_map and not run.data.task.probable:
        raise UserError(
            f"config.{stage.name}.class_map: is for probabilities of classes; {name!r} predicts {predicted}"
        )
    if stage.class_map:
        return class_map.mapped(apply, stage.class_map, teacher_classes, classes, f"config.{stage.name}.class_map")
    if teacher_classes != classes:
        raise UserError(
            f"{where}: {name!r} has the classes {list(teacher_classes)}, the data has {list(classes)}; map them "
            f"with config.{stage.name}.class_map, or take the method 'feature_distill'"
        )
    return apply


def _resizing(apply: Apply, shape: tuple[int, ...]) -> Apply:
    """Returns the function of a network for images of any size, which are resized to `shape`."""

    def resizing(
        variables: Tree, images: Array, train: bool, keys: Array | None
    ) -> tuple[tuple[Array, dict[str, Array]], Tree]:
        if images.shape[1:] != shape:
            wide = jax.image.resize(images.astype(np.float32), (len(images), *shape), "cubic")
            images = wide.round().clip(0, 255).astype(np.uint8)
        return apply(variables, images, train, keys)

    return resizing
