"""The dry run: traces every stage, so that errors are reported before the first one is trained."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax import models
from efficient_jax.data import objects, progress_bar
from efficient_jax.errors import UserError
from efficient_jax.experiment import initialise, suspects
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.experiment.teachers import teachers_of
from efficient_jax.experiment.train import build_program
from efficient_jax.models import heads
from efficient_jax.training import parallel
from efficient_jax.training.loss import loss_context
from efficient_jax.types import Tree


def dry_run(run: Run) -> None:
    """Traces every stage of a run. Nothing is trained.

    Args:
        run: the run, before its first stage.

    Raises: UserError for a setting out of range, an optimizer rule without parameters, a teacher or start that does not
        fit, and images too small for the model.
    """
    shapes: dict[str, Tree] = {}
    for config in run.plan.stages:
        with progress_bar.waiting(f"{config.name}: checking its settings", run.console):
            shapes[config.name] = _traced(_opened(config, run, shapes), shapes)


def _opened(config: StageConfig, run: Run, earlier: Mapping[str, Tree]) -> Stage:
    try:
        return Stage.open(config, run, earlier)
    except UserError as error:
        raise error if str(error).startswith("config.") else UserError(f"config.{config.name}: {error}") from error


def _traced(stage: Stage, earlier: Mapping[str, Tree]) -> Tree:
    """Traces a stage; returns the shapes of its variables. `earlier`: those of the stages before it."""
    config, run = stage.config, stage.run
    where = f"config.{config.name}"
    if not config.method.needs("teachers"):  # those that make pseudo-labels before training
        teachers_of(config, run, earlier)
    if (features := config.suspects.get("features")) and features not in earlier:
        suspects.network(config, run)
    try:
        variables = _shapes(stage)
        if dict(stage.spec.head) != heads.LINEAR:  # of a start that is trained
            head = run.trained(config.init, f"{where}.init").variables["params"]["head"]
            variables = variables | {"params": variables["params"] | {"head": head}}
        if config.method.trains:
            _trace_step(stage, variables)
        elif config.method.fit:
            _try_fit(stage, variables)
    except UserError as error:
        raise error if str(error).startswith(where) else UserError(f"{where}: {error}") from error
    except Exception as error:  # an error in a loss function keeps its traceback
        error.add_note(f"while {where} was traced")
        raise
    if config.init in earlier:
        start, tree = run.plan.by_name[config.init], earlier[config.init]
        tree = tree if start.decoder == config.decoder else initialise.with_last_layers(tree, variables)
        initialise.check(start.model, tree, config, variables)
    elif config.init:
        initialise.variables(
            config, variables, run.data.source.classes, stage.spec.input_shape, run.trained, stage.spec.head
        )
    return variables


def _shapes(stage: Stage) -> Tree:
    """Returns the shapes of a stage's variables; UserError where its images do not fit the network."""
    shape = stage.spec.input_shape
    try:
        variables = models.shapes(stage.module, shape)
        _check_pixels(stage.module, variables, shape)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{stage.config.model} cannot be trained on images {list(shape)}: {error}") from error
    return variables


def _check_pixels(module: Any, variables: Tree, shape: tuple[int, ...]) -> None:
    """Checks that pixels are left before the head: the mean over no pixels is NaN."""
    images = jax.ShapeDtypeStruct((1, *shape), np.float32)
    _, intermediates = _evaluated.eval_shape(module, variables, images)
    if gone := [name for name, value in intermediates.items() if 0 in value.shape]:
        raise ValueError(f"no pixels are left at {gone[0]!r}; take larger images")


@functools.partial(jax.jit, static_argnums=0)  # one function, so that equal networks are traced once
def _evaluated(module: Any, variables: Tree, images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    outputs: tuple[jax.Array, dict[str, jax.Array]] = module.apply(variables, images, train=False)
    return outputs


def _trace_step(stage: Stage, variables: Tree) -> None:
    """Traces the loss of a step on few images of each stream, on one device."""
    config, run, method, data = stage.config, stage.run, stage.config.method, stage.run.data
    h, w = data.source.images.shape[1:3]
    count = max(2, config.joined)
    rows = np.arange(count) % len(data.source.labels)
    some = {**{name: x[rows] for name, x in data.source.objects.items()}, **data.task.entries(data.source.labels[rows])}
    examples = objects.resized(some, w, h, config.size) | {
        "image": np.zeros((count, *stage.spec.image_shape), np.uint8),
        "label": np.zeros((count, len(data.source.classes)), np.float32),
        "index": np.arange(count, dtype=np.int32),
    }
    batch = dict.fromkeys(config.batch, examples)
    if data.task.pseudo_labels and method.pseudo_labels:  # with probabilities that reach every threshold
        certain = np.eye(2, dtype=np.float32) if data.task.by_image else np.ones((2, 2, 6), np.float32)
        data.task.pseudo_labels(certain, run.plan.seed, **run.resolved[config.name].pseudo_labels)
    program = build_program(stage, variables)
    model_state = {name: tree for name, tree in variables.items() if name != "params"}
    if method.memory:
        model_state["memory"] = method.memory(dict.fromkeys(batch, np.arange(count)), count, len(data.source.classes))
    counts = jnp.ones(len(data.source.classes))
    context = loss_context({"step": np.int32(0), "ema": variables}, stage.teacher_variables, counts, stage.steps)
    keys = dict.fromkeys(batch, jax.random.split(jax.random.key(0), count))
    on_a_device = jax.vmap(program.loss_fn, in_axes=None, axis_name=parallel.AXIS, axis_size=1)
    jax.eval_shape(on_a_device, variables["params"] | program.added, model_state, context, batch, keys)


def _try_fit(stage: Stage, variables: Tree) -> None:
    """Fits a head to four images of the first two classes."""
    method, run, spec = stage.config.method, stage.run, stage.spec
    assert method.fit
    image = jax.ShapeDtypeStruct((1, *spec.image_shape), np.uint8)
    (_, seen), _ = jax.eval_shape(lambda v, x: stage.apply(v, x, False, None), variables, image)
    shapes = jax.eval_shape(lambda seen: heads.features(seen, getattr(stage.module, "prefix_tokens", 0)), seen)
    features = {pool: np.eye(4, shape.shape[1], dtype=np.float32) for pool, shape in shapes.items()}
    labels = np.eye(max(2, len(spec.classes)), dtype=np.float32)[[0, 1, 0, 1]][:, : len(spec.classes)]
    method.fit(features, labels, run.plan.seed, None, run.data.task, spec.classes, **stage.config.method_settings)
