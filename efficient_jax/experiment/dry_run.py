"""The dry run: every stage is traced, so that what does not fit is said before the first one trains."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax import models
from efficient_jax.data import objects
from efficient_jax.errors import UserError
from efficient_jax.experiment import initialise
from efficient_jax.experiment.run import Run, model_spec
from efficient_jax.experiment.stage_config import Stage
from efficient_jax.experiment.teachers import teachers_of
from efficient_jax.experiment.train import optimizer_of, parameters_of_method
from efficient_jax.methods import build_loss
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from efficient_jax.training import parallel
from efficient_jax.training.loss import loss_context
from efficient_jax.types import Apply, Tree


def dry_run(run: Run) -> None:
    """Traces every stage of `run`; nothing is trained.

    Raises: UserError as `_rehearse`.
    """
    shapes: dict[str, Tree] = {}
    for stage in run.stages:
        shapes[stage.name] = _rehearse(stage, run, shapes)


def _rehearse(stage: Stage, run: Run, earlier: Mapping[str, Tree]) -> Tree:
    """The shapes of a stage's variables. Traces its loss, so that a bad value is said before the first stage trains.

    Raises: UserError for a strength or rate out of range, a rule that claims nothing, a teacher or start that does
    not fit, an image too small for the model.
    """
    where = f"config.{stage.name}"
    spec = model_spec(stage, run)
    shape = spec.input_shape
    module, _ = spec.build()
    taught = teachers_of(stage, run, earlier)
    try:
        variables = _shapes(stage, module, shape)
        if stage.batch:
            _rehearse_updates(stage, run, spec, variables, *taught)
        elif stage.method.fit:
            _rehearse_fit(stage, run)
    except UserError as error:
        raise error if str(error).startswith(where) else UserError(f"{where}: {error}") from error
    except Exception as error:  # of whoever wrote the loss, with its traceback
        error.add_note(f"while {where} was traced")
        raise
    if stage.init in earlier:
        start = next(other for other in run.stages if other.name == stage.init)
        initialise.check(start.model, earlier[stage.init], stage, variables)
    if stage.init and stage.init not in earlier:
        initialise.variables(stage, variables, run.source.classes, shape, run.trained)
    return variables


def _shapes(stage: Stage, module: Any, shape: tuple[int, int, int]) -> Tree:
    """The shapes of the variables of `module`. Raises: UserError where it has none for images of `shape`."""
    try:
        variables = jax.eval_shape(lambda key: models.init(module, key, shape), jax.random.key(0))
        _check_pixels(module, variables, shape)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{stage.model} cannot be trained on images {list(shape)}: {error}") from error
    return variables


def _check_pixels(module: Any, variables: Tree, shape: tuple[int, ...]) -> None:
    """That the image is not used up before the head: the mean over no pixels is no number."""
    images = jax.ShapeDtypeStruct((1, *shape), np.float32)
    _, seen = jax.eval_shape(lambda v, x: module.apply(v, x, train=False), variables, images)
    if gone := [name for name, value in seen.items() if 0 in value.shape]:
        raise ValueError(f"no pixels are left at {gone[0]!r}; take larger images")


def _rehearse_updates(
    stage: Stage, run: Run, spec: ModelSpec, variables: Tree, teachers: tuple[Apply, ...], theirs: Tree
) -> None:
    module, apply = spec.build(stage.norm_axis or None)
    method = stage.method
    h, w = run.source.images.shape[1:3]
    two = {name: values[:2] for name, values in run.source.objects.items()}
    one = objects.resized(two, w, h, stage.size) | {
        "image": np.zeros((2, *spec.image_shape), np.uint8),
        "label": np.zeros((2, len(run.source.classes)), np.float32),
        "index": np.arange(2, dtype=np.int32),
    }
    batch = dict.fromkeys(stage.batch, one)
    task = TASKS[run.source.task]
    if task.pseudo_labels and method.pseudo_labels:  # on probabilities that no threshold refuses
        task.pseudo_labels(np.eye(2, dtype=np.float32), run.seed, **stage.pseudo_labels)
    loss_fn = build_loss(method, apply, stage.augment, stage.strong_augment, teachers, task, stage.method_settings)
    key = jax.random.key(0)
    of_method = parameters_of_method(stage, run, key, (apply, variables), teachers, theirs)
    optimizer_of(stage, module, variables["params"], of_method)
    model_state = {name: tree for name, tree in variables.items() if name != "params"}
    if method.memory:
        model_state["memory"] = method.memory({stream: np.arange(2) for stream in batch}, 2)
    counts = jnp.ones(len(run.source.classes))
    context = loss_context({"step": np.int32(0), "ema": variables}, theirs, counts, 1)
    keys = dict.fromkeys(batch, jax.random.split(key))
    on_a_device = jax.vmap(loss_fn, in_axes=None, axis_name=parallel.AXIS, axis_size=1)
    jax.eval_shape(on_a_device, variables["params"] | of_method, model_state, context, batch, keys)


def _rehearse_fit(stage: Stage, run: Run) -> None:
    method, labels = stage.method, np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    assert method.fit
    method.fit(np.eye(4, dtype=np.float32), labels, run.seed, None, TASKS[run.source.task], **stage.method_settings)
