"""Runs the stages of a plan in order. Each has its folder under the workdir, resumes from its newest checkpoint, and
is left alone when it is finished."""

import functools
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from efficient_jax import keys, members, models, optim, outcome, records
from efficient_jax.data import SOURCES, feed, sources, splits, statistics
from efficient_jax.methods import METHODS
from efficient_jax.plan import Plan, Stage
from efficient_jax.training import checkpoint, loop, parallel, state, step
from efficient_jax.training.progress import StageProgress
from efficient_jax.types import Apply, Tree, UserError

PREDICT_BATCH = 512
CHUNK = 64  # updates whose indices are sent to the devices together


class Run(NamedTuple):
    """What all stages share."""

    workdir: Path
    seed: int
    devices: Sequence[jax.Device]
    console: Console
    source: sources.Source
    split: dict[str, np.ndarray]
    images: jax.Array  # the source's images, replicated
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Supervision(NamedTuple):
    """What a stage learns from."""

    rows: dict[str, np.ndarray]  # stream -> images, those that count double twice
    labels: np.ndarray  # float32 [n classes]: people's, or the teacher's; zeros where there is neither
    pseudo_labels: dict[str, int] | None  # how many were kept and are right


def prepare(plan: Plan, workdir: Path, console: Console) -> Run:
    """Picks devices and splits data. Raises: UserError when a batch does not divide or images are too few."""
    batches = {f"config.{s.name}.batch.{stream}": size for s in plan.stages for stream, size in s.batch.items()}
    devices = parallel.pick_devices(batches, plan.devices)
    name, settings = plan.source
    source = SOURCES[name](**settings)
    split = splits.split(source.labels, source.classes, seed=plan.seed, **plan.split)
    for stage in plan.stages:
        for stream, size in stage.batch.items():
            if not len(split[stream]):
                raise UserError(f"config.{stage.name}.batch.{stream}: {size} asked, but no image is {stream}")
    pool = np.concatenate([split["labelled"], split["unlabelled"]])
    mean, std = statistics.mean_std(source.images[pool])  # never of test images
    images = parallel.replicate(source.images, devices)
    run = Run(workdir, plan.seed, devices, console, source, split, images, mean, std)
    shapes: dict[str, Tree] = {}
    for stage in plan.stages:
        shapes[stage.name] = _rehearse(stage, run, shapes)
    return run


def _rehearse(stage: Stage, run: Run, earlier: Mapping[str, Tree]) -> Tree:
    """The shapes of a stage's variables. Traces its loss, so that a bad value is said before the first stage trains.

    Raises: UserError for a strength or rate out of range, a rule that claims nothing, a teacher or start that does
    not fit, an image too small for the model.
    """
    shape, where = run.source.images.shape[1:], f"config.{stage.name}"
    module, apply = members.build(_description(stage, run), norm_axis=None)
    method = METHODS[stage.method[0]]
    streams = {
        stream: {"image": np.zeros((2, *shape), np.uint8), "label": np.zeros((2, len(run.source.classes)), np.float32)}
        for stream in stage.batch
    }
    try:
        variables = jax.eval_shape(lambda key: models.init(module, key, shape), jax.random.key(0))
        optim.optimizer(variables["params"], steps=stage.updates, **stage.optim)
        if method.label:
            method.label(np.eye(2, dtype=np.float32), run.seed, **stage.pseudo_labels)
        teacher = (apply,) if method.frozen_teacher else ()
        loss_fn = method.loss(apply, stage.augment, *teacher, **stage.method[1])
        params, state = variables["params"], {name: tree for name, tree in variables.items() if name != "params"}
        pair = jax.random.split(jax.random.key(0))
        jax.eval_shape(loss_fn, params, state, {"teacher": variables}, streams, dict.fromkeys(streams, pair))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{where}: {stage.model} cannot be trained on images {list(shape)}: {error}") from error
    if (_folder(stage.teacher, run) / checkpoint.FOLDER).is_dir():
        _teacher(stage, run)
    if stage.init in earlier and (differences := checkpoint.compare(earlier[stage.init], variables)):
        raise UserError(f"{where}.init: {stage.init!r} is of another architecture: {differences}")
    if stage.init and stage.init not in earlier:
        _initial(variables, stage, run)
    return variables


def _description(stage: Stage, run: Run) -> dict[str, Any]:
    return members.describe(stage.model, run.source.classes, run.source.images.shape[1:], run.mean, run.std)


def run_stage(stage: Stage, run: Run) -> dict[str, Any]:
    """Trains one stage, or finishes it; returns the result, which is also in its folder."""
    folder = run.workdir / stage.name
    folder.mkdir(exist_ok=True)
    if (folder / "result.json").exists():
        return records.read_json(folder / "result.json")
    started = time.perf_counter()
    key = _key(stage, run)
    shape = run.source.images.shape[1:]
    description = _description(stage, run)
    module, apply = members.build(description)
    variables = models.init(module, keys.named(key, "init"), shape)
    if stage.init:
        variables = _initial(variables, stage, run)
    supervision = supervise(stage, run)
    outcome.samples(folder, stage.augment, run.source.images, supervision.labels, supervision.rows, key)

    predict = step.make_predict(apply, run.devices)
    ema = _train(stage, run, description, predict, updates(stage, run, supervision, apply, variables))
    result = {
        "stage": stage.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "labels": len(run.split["labelled"]),
        "updates": stage.updates,
        "images_seen": stage.updates * sum(stage.batch.values()),
        "pseudo_labels": supervision.pseudo_labels,
        "validation": _score(predict, ema, run),
        **outcome.judge(folder, run.source, run.split["test"], predict_rows(predict, ema, run.split["test"], run)),
        "seconds": round(time.perf_counter() - started, 1),
    }
    records.write_json(folder / "result.json", result)
    return result


class Updates(NamedTuple):
    """The updates of a stage."""

    state: Tree  # before the first
    update: Callable[[Tree, dict[str, jax.Array]], tuple[Tree, dict]]  # the compiled step
    indices: Callable[[int], dict[str, jax.Array]]  # the images of update number i, and of those around it


def updates(stage: Stage, run: Run, supervision: Supervision, apply: Apply, variables: Tree) -> Updates:
    """Everything that the loop needs, placed on the devices and ready to compile."""
    method = METHODS[stage.method[0]]
    teacher: tuple[Apply, ...] = ()
    frozen: Tree = {}
    if method.frozen_teacher:
        teacher_apply, teacher_variables = _teacher(stage, run)
        teacher, frozen = (teacher_apply,), parallel.replicate({"teacher": teacher_variables}, run.devices)
    tx, table = optim.optimizer(variables["params"], steps=stage.updates, **stage.optim)
    for row in table:
        run.console.print(
            f"{stage.name}: {row.rule!r} x {row.multiplier}: {row.parameters:,} parameters, {row.decayed:,} decayed"
        )
    loss_fn = method.loss(apply, stage.augment, *teacher, **stage.method[1])
    train_step = step.make_train_step(loss_fn, tx, ema_decay=stage.ema_decay, devices=run.devices)
    data = {"image": run.images, "label": parallel.replicate(supervision.labels, run.devices)}
    key = parallel.replicate(keys.named(_key(stage, run), "train"), run.devices)
    orders = {stream: zlib.crc32(f"{run.seed}/{stage.name}/{stream}".encode()) for stream in stage.batch}

    @functools.lru_cache(maxsize=1)
    def chunk(number: int) -> dict[str, jax.Array]:
        steps = range(number * CHUNK, (number + 1) * CHUNK)
        return {
            stream: parallel.shared(
                np.stack([feed.batch_at(supervision.rows[stream], size, i, orders[stream]) for i in steps]), run.devices
            )
            for stream, size in stage.batch.items()
        }

    return Updates(
        state=parallel.replicate(state.create(variables, tx), run.devices),
        update=lambda current, index: train_step(current, frozen, data, key, index),
        indices=lambda i: chunk(i // CHUNK),
    )


def _train(stage: Stage, run: Run, description: dict[str, Any], predict: Callable, each: Updates) -> Tree:
    """The averaged variables after all updates, or the best of them on validation where there is such a split."""
    rate = optim.schedule(learning_rate=stage.optim["learning_rate"], steps=stage.updates, warmup=stage.optim["warmup"])
    folder = run.workdir / stage.name
    with checkpoint.open_manager(folder) as manager:
        first = manager.latest_step() or 0
        current = checkpoint.restore(manager, first, each.state, run.devices) if first else each.state
        with (
            records.MetricsLog(folder, first) as log,
            StageProgress(run.console, stage.name, first=first, updates=stage.updates) as progress,
        ):

            def on_log(i: int, values: Mapping[str, float]) -> None:
                log.write(i, {**values, "learning_rate": float(rate(i - 1))})
                progress.show(i, values)

            def on_save(i: int, current: Tree) -> None:
                parallel.assert_replicas_agree(current)
                score = _score(predict, current["ema"], run)
                fraction = score["correct"] / score["n"] if score else None
                if fraction is not None:
                    log.write(i, {"validation_accuracy": fraction})
                checkpoint.save(manager, i, current, description, fraction)

            current = loop.run(
                lambda current, i: each.update(current, each.indices(i)),
                current,
                first=first,
                updates=stage.updates,
                log_every=stage.log_every,
                save_every=stage.save_every,
                images_per_update=sum(stage.batch.values()),
                log=on_log,
                save=on_save,
                where=f"stage {stage.name!r}",
            )
        manager.wait_until_finished()
        best = checkpoint.best_step(manager)
        if best is not None and best != stage.updates:
            current = checkpoint.restore(manager, best, current, run.devices)
    return current["ema"]


def supervise(stage: Stage, run: Run) -> Supervision:
    """The stage's streams and their labels; a teacher that labels images does so here, once, un-noised."""
    source, split = run.source, run.split
    labels = np.zeros((len(source.images), len(source.classes)), np.float32)
    labels[split["labelled"], source.labels[split["labelled"]]] = 1.0
    rows = {stream: split[stream] for stream in stage.batch}
    label = METHODS[stage.method[0]].label
    if not label or "unlabelled" not in rows:
        return Supervision(rows, labels, None)
    ids = split["unlabelled"]
    apply, variables = _teacher(stage, run)
    variables = parallel.replicate(variables, run.devices)
    probabilities = predict_rows(step.make_predict(apply, run.devices), variables, ids, run)
    labels[ids], copies = label(probabilities, run.seed, **stage.pseudo_labels)
    rows["unlabelled"] = np.repeat(ids, copies)
    audit = outcome.audit(
        run.workdir / stage.name,
        ids=ids,
        hidden=source.labels[ids],
        probabilities=probabilities,
        labels=labels[ids],
        copies=copies,
        threshold=stage.pseudo_labels["threshold"],
        teacher=stage.teacher,
    )
    few = audit["kept"] < stage.batch["unlabelled"]
    hint = f": less than one batch; lower config.{stage.name}.pseudo_labels.threshold" if few else ""
    run.console.print(f"{stage.name}: {audit['kept']:,} of {audit['pool']:,} pseudo-labels kept{hint}")
    return Supervision(rows, labels, audit)


def _teacher(stage: Stage, run: Run) -> tuple[Apply, Tree]:
    where = f"config.{stage.name}.teacher"
    apply, variables, description = members.load(_folder(stage.teacher, run), where)
    theirs, ours = tuple(description["classes"]), run.source.classes
    if theirs != ours:
        raise UserError(f"{where}: {stage.teacher!r} knows the classes {list(theirs)}, the data has {list(ours)}")
    if description["image_shape"] != list(run.source.images.shape[1:]):
        raise UserError(
            f"{where}: {stage.teacher!r} knows images {description['image_shape']}, "
            f"the data has {list(run.source.images.shape[1:])}"
        )
    return apply, variables


def _initial(variables: Tree, stage: Stage, run: Run) -> Tree:
    """The variables of `stage.init`, which must be of the same architecture."""
    where = f"config.{stage.name}.init"
    found, _ = checkpoint.load(_folder(stage.init, run), where)
    if differences := checkpoint.compare(found, variables):
        raise UserError(f"{where}: {stage.init!r} is a checkpoint of another architecture: {differences}")
    return found


def _folder(reference: str, run: Run) -> Path:
    """An earlier stage of this run, or a folder of another."""
    inside = run.workdir / reference
    return inside if (inside / checkpoint.FOLDER).is_dir() else Path(reference)


def _key(stage: Stage, run: Run) -> jax.Array:
    return keys.named(jax.random.key(run.seed), stage.name)


def predict_rows(predict: Any, variables: Tree, ids: np.ndarray, run: Run) -> np.ndarray:
    batch = PREDICT_BATCH // len(run.devices) * len(run.devices)
    return step.predict_rows(predict, variables, run.images, ids, batch=batch, devices=run.devices)


def _score(predict: Any, variables: Tree, run: Run) -> dict[str, int] | None:
    """Right predictions on the validation images, where there are any."""
    ids = run.split["validation"]
    if not len(ids):
        return None
    predicted = predict_rows(predict, variables, ids, run).argmax(1)
    return {"correct": int((predicted == run.source.labels[ids]).sum()), "n": len(ids)}


def read_config(workdir: Path, where: str) -> dict[str, Any]:
    """The config of a run, with tuples where it had them. UserError naming `where` if there is none."""
    if not (workdir / "config.json").is_file():
        raise UserError(f"{where}: {str(workdir)!r} has no config.json, which says what the stage was tested on")
    return _tuples(records.read_json(workdir / "config.json"))


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value
