"""From a checked plan to what all stages share: devices, data, splits, and a rehearsal of every stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from rich.console import Console

from efficient_jax import binding, class_map, initial, members, models, optim
from efficient_jax.data import SOURCES, duplicates, sources, splits, statistics
from efficient_jax.methods import METHODS
from efficient_jax.plan import Plan, Stage, resolved
from efficient_jax.training import parallel
from efficient_jax.types import Apply, Tree, UserError

NAMED = 5  # images that a line lists
NOTHING: dict[str, Tree] = {}


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
    rows = {stage.name: streams(stage, source, split) for stage in plan.stages}
    for stage in plan.stages:
        for stream, size in stage.batch.items():
            if not len(rows[stage.name][stream]):
                raise UserError(
                    f"config.{stage.name}.batch.{stream}: {size} asked, but no image is {stream}; set a lower "
                    "config.data.labels_per_class, or add images without a label"
                )
        if METHODS[stage.method[0]].correct and not len(split["unlabelled"]):
            raise UserError(f"config.{stage.name}.method: {stage.method[0]!r} needs images without labels; none is")
    pool = np.concatenate([split["labelled"], split["unlabelled"]])
    mean, std = statistics.mean_std(source.images[pool])  # never of test images
    images = parallel.replicate(source.images, devices)
    framing = {key: value for key, value in plan.source[1].items() if key in ("fit", "crop", "interpolation")}
    stages = tuple(
        resolved(stage, len(next(iter(rows[stage.name].values()), split["labelled"]))) for stage in plan.stages
    )
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
    hashes = duplicates.digests(source.images)
    source, split = _without_test_images(plan, source, split, hashes)
    labelled = np.concatenate([split["labelled"], split["validation"]])
    if pairs := duplicates.contradictions(hashes, source.labels, labelled):
        source = _noted(source, f"equal images have different labels: {_listed(pairs, source)}")
    return source, split


def streams(stage: Stage, source: sources.Source, split: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The images of each stream of the stage. Raises: UserError where what to omit is not known."""
    rows = {stream: split[stream] for stream in stage.batch}
    if not stage.omit:
        return rows
    where = f"config.{stage.name}.omit"
    numbers = dict(zip(source.classes, range(len(source.classes)), strict=True))
    omitted = [binding.choose(name, numbers, where) for name in stage.omit]
    for stream, ids in rows.items():
        if unknown := int((source.labels[ids] < 0).reshape(len(ids), -1).any(1).sum()):
            raise UserError(f"{where}: nobody knows the classes of {unknown:,} images that are {stream}")
        rows[stream] = ids[~source.targets(ids)[:, omitted].any(1)]
    return rows


def _without_test_images(
    plan: Plan, source: sources.Source, split: dict[str, np.ndarray], hashes: list[bytes]
) -> tuple[sources.Source, dict[str, np.ndarray]]:
    """Refuses images of other parts that equal one of the test, or leaves them out, and as many others are drawn."""
    if not (found := duplicates.of_test(hashes, split["test"])):
        return source, split
    counts = {name: int(np.isin(ids, list(found)).sum()) for name, ids in split.items()}
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    said = f"equal a test image, pixel for pixel ({shown}): {_listed(list(found.items()), source)}"
    if plan.duplicates == "refuse":
        raise UserError(
            f"config.data: {len(found):,} images {said}; remove them, or leave them out with "
            'config.data.duplicates="drop"'
        )
    rest = np.setdiff1d(np.arange(len(hashes)), list(found))
    given = {"test": np.searchsorted(rest, split["test"])}
    again = splits.split(source.labels[rest], source.classes, seed=plan.seed, given=given, **plan.split | {"test": 0})
    return _noted(source, f"left out {len(found):,} images that {said}"), {
        name: rest[ids].astype(np.int32) for name, ids in again.items()
    }


def _noted(source: sources.Source, note: str) -> sources.Source:
    return source._replace(notes=(*source.notes, note))


def _listed(pairs: Sequence[tuple[int, int]], source: sources.Source) -> str:
    named = ", ".join(f"{source.name(one)} = {source.name(other)}" for one, other in pairs[:NAMED])
    return named + (f" and {len(pairs) - NAMED:,} more" if len(pairs) > NAMED else "")


def _check_labels(stage: Stage, source: sources.Source) -> None:
    labels = "several labels" if source.multi_label else "one class"
    if labels not in METHODS[stage.method[0]].labels:
        fitting = " or ".join(repr(name) for name, method in METHODS.items() if labels in method.labels)
        raise UserError(
            f"config.{stage.name}.method: {stage.method[0]!r} does not fit data with {labels} for each image; "
            f"take {fitting}"
        )
    if source.multi_label and stage.balanced:
        raise UserError(f"config.{stage.name}.batch.balanced: images with several labels are in no one class")


def _rehearse(stage: Stage, run: Run, earlier: Mapping[str, Tree]) -> Tree:
    """The shapes of a stage's variables. Traces its loss, so that a bad value is said before the first stage trains.

    Raises: UserError for a strength or rate out of range, a rule that claims nothing, a teacher or start that does
    not fit, an image too small for the model.
    """
    where = f"config.{stage.name}"
    about = description_of(stage, run)
    shape = input_shape(about)
    module, _ = members.build(about, norm_axis=None)
    taught = teachers_of(stage, run, earlier)
    try:
        variables = jax.eval_shape(lambda key: models.init(module, key, shape), jax.random.key(0))
        _check_pixels(module, variables, shape)
        if stage.batch:
            _rehearse_updates(stage, run, about, variables, *taught)
        elif METHODS[stage.method[0]].fit:
            _rehearse_fit(stage, run)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{where}: {stage.model} cannot be trained on images {list(shape)}: {error}") from error
    if stage.init in earlier:
        start = next(other for other in run.stages if other.name == stage.init)
        initial.check(start.model, earlier[stage.init], stage, variables)
    if stage.init and stage.init not in earlier:
        initial.variables(stage, variables, run.source.classes, shape, run.workdir)
    return variables


def _rehearse_updates(
    stage: Stage, run: Run, about: dict[str, Any], variables: Tree, teachers: tuple[Apply, ...], theirs: Tree
) -> None:
    shape = run.source.images.shape[1:]
    module, apply = members.build(about)
    method = METHODS[stage.method[0]]
    one = {
        "image": np.zeros((2, *shape), np.uint8),
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
    image = jax.ShapeDtypeStruct((1, *run.source.images.shape[1:]), np.uint8)
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
            apply = members.build(description)[1]
        else:
            folder = initial.folder(name, run.workdir)
            apply, variables, description = members.load(folder, stage.where_teachers)
        applies.append(_teaching(stage, run, name, apply, description))
        trees.append(variables)
    return tuple(applies), tuple(trees)


def _teaching(stage: Stage, run: Run, name: str, apply: Apply, description: Mapping[str, Any]) -> Apply:
    """The `apply` of the teacher `name`, whose logits are of the student's classes where they are read."""
    where = stage.where_teachers
    theirs, ours = tuple(description["classes"]), run.source.classes
    if description["image_shape"] != list(run.source.images.shape[1:]):
        raise UserError(
            f"{where}: {name!r} knows images {description['image_shape']}, "
            f"the data has {list(run.source.images.shape[1:])}"
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
