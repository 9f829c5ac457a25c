"""From a checked plan to what all stages share: devices, data, splits, and a rehearsal of every stage."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array
from rich.console import Console

from efficient_jax import models
from efficient_jax.data import cache, decode, generated, objects, statistics
from efficient_jax.data import dataset as sources
from efficient_jax.data import identity as duplicates
from efficient_jax.data.stream import Streamed
from efficient_jax.experiment import class_map, initialise
from efficient_jax.experiment.config import Plan
from efficient_jax.experiment.dataset import check_streams, load_data, load_run, without_held_out
from efficient_jax.experiment.stage_config import Stage, resolved
from efficient_jax.methods import METHODS
from efficient_jax.optim import optimizer as optim
from efficient_jax.training import batches, checkpoint, parallel, trained
from efficient_jax.types import Apply, Tree, UserError

NOTHING: dict[str, Tree] = {}


class Run(NamedTuple):
    """What all stages share."""

    workdir: Path
    seed: int
    devices: Sequence[jax.Device]
    console: Console
    source: sources.Source
    split: dict[str, np.ndarray]
    weight: float  # of the images in split["generated"], where there are any
    images: batches.Images  # the source's, replicated where they fit
    mean: tuple[float, ...]  # of the images that are not for the test
    std: tuple[float, ...]
    framing: dict[str, Any]  # how pictures became images
    stages: tuple[Stage, ...]  # with durations in updates
    kept: dict[Any, Any]  # what `once` made

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Returns `make()`, which is called once for all stages; `key` says of what."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def restored(self, folder: Path, where: str) -> tuple[Tree, dict[str, Any]]:
        """As `checkpoint.load`; a stage of another run, which does not change, is read once."""
        if folder.parent == self.workdir:
            return checkpoint.load(folder, where)
        return self.once(("checkpoint", folder), lambda: checkpoint.load(folder, where))


def at_size(run: Run, size: int) -> Run:
    """`run` with its images resized to squares of `size` pixels; 0: as they are."""
    images = run.source.images
    resized = images.resized(size) if isinstance(images, Streamed) else decode.resized(images, size)
    if resized is images:
        return run
    h, w = images.shape[1:3]
    source = run.source._replace(images=resized, objects=objects.resized(run.source.objects, w, h, size))
    return run._replace(source=source, images=batches.place(resized, run.devices))


def reopened(workdir: Path, where: str, console: Console) -> Run:
    """A run that was trained, with its images on all devices and its stored split; none of its stages is prepared.

    Args:
        workdir: the folder of the run.
        where: the flag that an error names.
        console: shows in one line what became of its images since.

    Raises: UserError as `loading.load_run`.
    """
    settings, source, split = load_run(workdir, where, functools.partial(console.print, soft_wrap=True))
    devices = parallel.pick_devices({}, 0)
    placed = batches.place(source.images, devices)
    return Run(workdir, settings["seed"], devices, console, source, split, 0.0, placed, (), (), {}, (), {})


def prepare(plan: Plan, workdir: Path, console: Console) -> Run:
    """Picks devices and splits data. Raises: UserError when a batch does not divide or images are too few."""
    sizes = {
        f"config.{s.name}.batch.{stream}{f' / {s.accumulate}' if s.accumulate > 1 else ''}": size // s.accumulate
        for s in plan.stages
        for stream, size in s.batch.items()
    }
    devices = parallel.pick_devices(sizes, plan.devices)
    check = functools.partial(check_streams, plan)
    source, split = load_data(plan, workdir.parent / cache.FOLDER, check)
    if plan.generated:
        source, split = _with_generated(source, split, plan)
    rows = check(source, split)
    pool = np.concatenate([split["labelled"], split["unlabelled"]])
    images = source.images  # never those of the test tell the mean
    mean, std = images.mean_std(pool) if isinstance(images, Streamed) else statistics.mean_std(images[pool])
    framing = framing_of(plan)
    stages = tuple(
        resolved(stage, len(next(iter(rows[stage.name].values()), split["labelled"]))) for stage in plan.stages
    )
    placed = batches.place(images, devices)
    weight = plan.generated.get("weight", 0.0)
    run = Run(workdir, plan.seed, devices, console, source, split, weight, placed, mean, std, framing, stages, {})
    shapes: dict[str, Tree] = {}
    for stage in stages:
        shapes[stage.name] = _rehearse(stage, run, shapes)
    return run


def _with_generated(
    source: sources.Source, split: dict[str, np.ndarray], plan: Plan
) -> tuple[sources.Source, dict[str, np.ndarray]]:
    """Adds images as a part of their own: drawn from the labelled ones alone, or read from a folder."""
    where, images = "config.data.generated", source.images
    if isinstance(images, Streamed):
        raise UserError(f'{where}: wants images in memory; set config.data.feed="memory"')
    if source.multi_label or source.soft_labels is not None or source.objects:
        raise UserError(f"{where}: is for images of one class each, without soft labels and objects")
    settings = {name: value for name, value in plan.generated.items() if name != "weight"}
    if path := settings.pop("path", ""):
        read = generated.read(path, source.classes, images.shape[1:], framing_of(plan))
        made, of, names, notes = without_held_out(plan, source, split, read)
    else:
        ids = split["labelled"]
        made, of = generated.generate(images[ids], source.labels[ids], source.classes, seed=plan.seed, **settings)
        names = tuple(f"generated {i}" for i in range(len(made)))
        notes = (f"{len(made):,} images were drawn from the {len(ids):,} labelled ones",)
    hashes = np.frombuffer(b"".join(duplicates.digests(made)), np.uint8).reshape(len(made), -1)
    before = source.names or tuple(source.name(i) for i in range(len(images)))
    more = source._replace(
        images=np.concatenate([images, made]),
        contents=np.concatenate([source.contents, hashes]),
        labels=np.concatenate([source.labels, of]),
        names=(*before, *names),
        notes=(*source.notes, *notes),
    )
    return more, split | {"generated": np.arange(len(images), len(more.images), dtype=np.int32)}


def framing_of(plan: Plan) -> dict[str, Any]:
    """How the source makes images of pictures; {} where it has arrays."""
    return {key: value for key, value in plan.source[1].items() if key in ("fit", "crop", "interpolation")}


def _rehearse(stage: Stage, run: Run, earlier: Mapping[str, Tree]) -> Tree:
    """The shapes of a stage's variables. Traces its loss, so that a bad value is said before the first stage trains.

    Raises: UserError for a strength or rate out of range, a rule that claims nothing, a teacher or start that does
    not fit, an image too small for the model.
    """
    where = f"config.{stage.name}"
    about = description_of(stage, run)
    shape = input_shape(about)
    module, _ = trained.build(about, norm_axis=None)
    taught = teachers_of(stage, run, earlier)
    try:
        variables = _shapes(stage, module, shape)
        if stage.batch:
            _rehearse_updates(stage, run, about, variables, *taught)
        elif METHODS[stage.method[0]].fit:
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
        initialise.variables(stage, variables, run.source.classes, shape, run.workdir, run.restored)
    return variables


def _shapes(stage: Stage, module: Any, shape: tuple[int, int, int]) -> Tree:
    """The shapes of the variables of `module`. Raises: UserError where it has none for images of `shape`."""
    try:
        variables = jax.eval_shape(lambda key: models.init(module, key, shape), jax.random.key(0))
        _check_pixels(module, variables, shape)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{stage.model} cannot be trained on images {list(shape)}: {error}") from error
    return variables


def _rehearse_updates(
    stage: Stage, run: Run, about: dict[str, Any], variables: Tree, teachers: tuple[Apply, ...], theirs: Tree
) -> None:
    module, apply = trained.build(about)
    method = METHODS[stage.method[0]]
    h, w = run.source.images.shape[1:3]
    two = {name: values[:2] for name, values in run.source.objects.items()}
    one = objects.resized(two, w, h, stage.size) | {
        "image": np.zeros((2, *about["image_shape"]), np.uint8),
        "label": np.zeros((2, len(run.source.classes)), np.float32),
        "index": np.arange(2, dtype=np.int32),
    }
    batch = dict.fromkeys(stage.batch, one)
    if method.label:  # on probabilities that no threshold refuses
        method.label(np.eye(2, dtype=np.float32), run.seed, **stage.pseudo_labels)
    views = (stage.augment, stage.strong_augment) if method.strong else (stage.augment,)
    given = (teachers,) if method.frozen_teacher else ()
    loss_fn = method.loss(apply, *views, *given, **stage.method[1])
    key = jax.random.key(0)
    of_method = parameters_of_method(stage, run, key, (apply, variables), teachers, theirs)
    optimizer(stage, module, variables["params"], of_method)
    state = {name: tree for name, tree in variables.items() if name != "params"}
    if method.memory:
        state["memory"] = method.memory({stream: np.arange(2) for stream in batch}, 2)
    frozen = {"teacher": theirs, "ema": variables, "progress": np.float32(0.0)}
    frozen["class_counts"] = np.ones(len(run.source.classes), np.float32)
    keys = dict.fromkeys(batch, jax.random.split(key))
    on_a_device = jax.vmap(loss_fn, in_axes=None, axis_name=parallel.AXIS, axis_size=1)
    jax.eval_shape(on_a_device, variables["params"] | of_method, state, frozen, batch, keys)


def optimizer(
    stage: Stage, module: Any, params: Tree, of_method: Tree
) -> tuple[optax.GradientTransformation, list[optim.Row]]:
    """As `optim.optimizer`; what the method trains beside the model is in the layer of the head."""
    *lower, last = module.layers()
    layers = (*lower, "|".join([last, *(f"{name}/.*" for name in of_method)]))
    return optim.optimizer(params | of_method, steps=stage.updates, layers=layers, **stage.optim)


def parameters_of_method(
    stage: Stage, run: Run, key: jax.Array, model: tuple[Apply, Tree], teachers: tuple[Apply, ...], theirs: Tree
) -> Tree:
    """What the method trains beside the model; {} for most."""
    make = METHODS[stage.method[0]].parameters
    if not make:
        return {}
    image = jax.ShapeDtypeStruct((1, *image_shape(stage, run)), np.uint8)
    seen = [
        jax.eval_shape(lambda v, x, apply=apply: apply(v, x, False, None)[0][1], variables, image)
        for apply, variables in (model, (teachers[0], theirs[0]))
    ]
    return make(key, *seen, **stage.method[1])


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


def image_shape(stage: Stage, run: Run) -> tuple[int, int, int]:
    h, w, channels = run.source.images.shape[1:]
    return stage.size or h, stage.size or w, channels


def input_shape(description: Mapping[str, Any]) -> tuple[int, int, int]:
    """What the network sees: grey images as many times as its weights have channels."""
    h, w, _ = description["image_shape"]
    return h, w, len(description["mean"])


def description_of(stage: Stage, run: Run) -> dict[str, Any]:
    stages = {other.name: other for other in run.stages}
    mean, std = initialise.normalisation(stage, stages, run.workdir, (run.mean, run.std), run.restored)
    channels = run.source.images.shape[-1]
    if channels not in (1, len(mean)):
        raise UserError(
            f"config.{stage.name}: the images have {channels} channels, the normalisation that belongs to "
            f"{stage.init or 'the stage'} has {len(mean)}; make them {len(mean)}, where the source reads pictures with "
            f"config.data.source.channels={len(mean)}"
        )
    source = run.source
    return trained.describe(
        stage.model, source.classes, image_shape(stage, run), mean, std, run.framing, source.multi_label
    )


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
    if METHODS[stage.method[0]].label:
        apply = _resizing(apply, shape)
    elif shape != image_shape(stage, run):
        raise UserError(
            f"{where}: {name!r} knows images {list(shape)} and would see those of the stage, "
            f"{list(image_shape(stage, run))}; set config.{stage.name}.size"
        )
    if METHODS[stage.method[0]].any_classes:
        return apply
    if description["multi_label"] != run.source.multi_label:
        kinds = "several labels", "one class"
        said, wanted = kinds if description["multi_label"] else kinds[::-1]
        raise UserError(f"{where}: {name!r} predicts {said} for each image, not {wanted}")
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
