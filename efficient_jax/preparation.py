"""From a checked plan to what all stages share: devices, data, splits, and a rehearsal of every stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from efficient_jax import initial, members, models, optim
from efficient_jax.data import SOURCES, sources, splits, statistics
from efficient_jax.methods import METHODS
from efficient_jax.plan import Plan, Stage, resolved
from efficient_jax.training import checkpoint, parallel
from efficient_jax.types import Apply, Tree, UserError


class Run(NamedTuple):
    """What all stages share."""

    workdir: Path
    seed: int
    devices: Sequence[jax.Device]
    console: Console
    source: sources.Source
    split: dict[str, np.ndarray]
    images: jax.Array  # the source's images, replicated
    mean: tuple[float, ...]  # of the images that are not for the test
    std: tuple[float, ...]
    framing: dict[str, Any]  # how pictures became images
    stages: tuple[Stage, ...]  # with durations in updates


def prepare(plan: Plan, workdir: Path, console: Console) -> Run:
    """Picks devices and splits data. Raises: UserError when a batch does not divide or images are too few."""
    batches = {f"config.{s.name}.batch.{stream}": size for s in plan.stages for stream, size in s.batch.items()}
    devices = parallel.pick_devices(batches, plan.devices)
    source, split = load_data(plan)
    for stage in plan.stages:
        _check_labels(stage, source)
    for stage in plan.stages:
        for stream, size in stage.batch.items():
            if not len(split[stream]):
                raise UserError(f"config.{stage.name}.batch.{stream}: {size} asked, but no image is {stream}")
    pool = np.concatenate([split["labelled"], split["unlabelled"]])
    mean, std = statistics.mean_std(source.images[pool])  # never of test images
    images = parallel.replicate(source.images, devices)
    framing = {key: value for key, value in plan.source[1].items() if key in ("fit", "crop", "interpolation")}
    stages = tuple(resolved(stage, len(split["labelled"])) for stage in plan.stages)
    run = Run(workdir, plan.seed, devices, console, source, split, images, mean, std, framing, stages)
    shapes: dict[str, Tree] = {}
    for stage in stages:
        shapes[stage.name] = _rehearse(stage, run, shapes)
    return run


def load_data(plan: Plan) -> tuple[sources.Source, dict[str, np.ndarray]]:
    """The images of a plan, and which of them are for what."""
    name, settings = plan.source
    source = SOURCES[name](**settings)
    split = splits.split(source.labels, source.classes, seed=plan.seed, given=source.given, **plan.split)
    if not len(split["test"]):
        raise UserError("config.data.test: 0 asked, and the source has no test images of its own; say how many")
    return source, split


def _check_labels(stage: Stage, source: sources.Source) -> None:
    labels = "several labels" if source.multi_label else "one class"
    if labels not in METHODS[stage.method[0]].labels:
        fitting = " or ".join(repr(name) for name, method in METHODS.items() if labels in method.labels)
        raise UserError(
            f"config.{stage.name}.method: {stage.method[0]!r} does not fit data with {labels} for each image; "
            f"take {fitting}"
        )


def _rehearse(stage: Stage, run: Run, earlier: Mapping[str, Tree]) -> Tree:
    """The shapes of a stage's variables. Traces its loss, so that a bad value is said before the first stage trains.

    Raises: UserError for a strength or rate out of range, a rule that claims nothing, a teacher or start that does
    not fit, an image too small for the model.
    """
    where = f"config.{stage.name}"
    about = description_of(stage, run)
    shape = input_shape(about)
    module, _ = members.build(about, norm_axis=None)
    try:
        variables = jax.eval_shape(lambda key: models.init(module, key, shape), jax.random.key(0))
        _check_pixels(module, variables, shape)
        if stage.batch:
            _rehearse_updates(stage, run, about, variables)
        else:
            _rehearse_fit(stage, run)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{where}: {stage.model} cannot be trained on images {list(shape)}: {error}") from error
    if (initial.folder(stage.teacher, run.workdir) / checkpoint.FOLDER).is_dir():
        teacher_of(stage, run)
    if stage.init in earlier:
        start = next(other for other in run.stages if other.name == stage.init)
        initial.check(start.model, earlier[stage.init], stage, variables)
    if stage.init and stage.init not in earlier:
        initial.variables(stage, variables, run.source.classes, shape, run.workdir)
    return variables


def _rehearse_updates(stage: Stage, run: Run, about: dict[str, Any], variables: Tree) -> None:
    shape = run.source.images.shape[1:]
    module, apply = members.build(about, norm_axis=None)
    method = METHODS[stage.method[0]]
    streams = {
        stream: {"image": np.zeros((2, *shape), np.uint8), "label": np.zeros((2, len(run.source.classes)), np.float32)}
        for stream in stage.batch
    }
    optim.optimizer(variables["params"], steps=stage.updates, layers=module.layers(), **stage.optim)
    if method.label:
        method.label(np.eye(2, dtype=np.float32), run.seed, **stage.pseudo_labels)
    teacher = (apply,) if method.frozen_teacher else ()
    loss_fn = method.loss(apply, stage.augment, *teacher, **stage.method[1])
    params, state = variables["params"], {name: tree for name, tree in variables.items() if name != "params"}
    pair = jax.random.split(jax.random.key(0))
    jax.eval_shape(loss_fn, params, state, {"teacher": variables}, streams, dict.fromkeys(streams, pair))


def _rehearse_fit(stage: Stage, run: Run) -> None:
    method, labels = METHODS[stage.method[0]], np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    assert method.fit
    method.fit(np.eye(4, dtype=np.float32), labels, run.seed, None, run.source.multi_label, **stage.method[1])


def _check_pixels(module: Any, variables: Tree, shape: tuple[int, ...]) -> None:
    """That the image is not used up before the head: the mean over no pixels is no number."""
    images = jax.ShapeDtypeStruct((1, *shape), np.float32)
    _, seen = jax.eval_shape(lambda v, x: module.apply(v, x, train=False), variables, images)
    if gone := [name for name, value in seen.items() if 0 in value.shape]:
        raise ValueError(f"no pixels are left at {gone[0]!r}; take larger images")


def input_shape(description: Mapping[str, Any]) -> tuple[int, int, int]:
    """What the network sees: grey images as many times as its weights have channels."""
    h, w, _ = description["image_shape"]
    return h, w, len(description["mean"])


def description_of(stage: Stage, run: Run) -> dict[str, Any]:
    stages = {other.name: other for other in run.stages}
    mean, std = initial.normalisation(stage, stages, run.workdir, (run.mean, run.std))
    channels = run.source.images.shape[-1]
    if channels not in (1, len(mean)):
        raise UserError(
            f"config.{stage.name}: the images have {channels} channels, the normalisation that belongs to "
            f"{stage.init or 'the stage'} has {len(mean)}; make them {len(mean)}, where the source reads pictures with "
            f"config.data.source.channels={len(mean)}"
        )
    source = run.source
    return members.describe(
        stage.model, source.classes, source.images.shape[1:], mean, std, run.framing, source.multi_label
    )


def teacher_of(stage: Stage, run: Run) -> tuple[Apply, Tree]:
    where = f"config.{stage.name}.teacher"
    apply, variables, description = members.load(initial.folder(stage.teacher, run.workdir), where)
    theirs, ours = tuple(description["classes"]), run.source.classes
    if theirs != ours:
        raise UserError(f"{where}: {stage.teacher!r} knows the classes {list(theirs)}, the data has {list(ours)}")
    if description["multi_label"]:
        raise UserError(f"{where}: {stage.teacher!r} predicts several labels for each image, not one class")
    if description["image_shape"] != list(run.source.images.shape[1:]):
        raise UserError(
            f"{where}: {stage.teacher!r} knows images {description['image_shape']}, "
            f"the data has {list(run.source.images.shape[1:])}"
        )
    return apply, variables
