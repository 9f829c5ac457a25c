"""Runs the stages of a plan in order. Each has its folder under the workdir, resumes from its newest checkpoint, and
is left alone when it is finished."""

import functools
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from efficient_jax import augment, initial, keys, members, metrics, models, optim, outcome, records
from efficient_jax.data import feed
from efficient_jax.linear_head import Choice
from efficient_jax.methods import METHODS
from efficient_jax.plan import Stage
from efficient_jax.preparation import Run, description_of, input_shape, teacher_of
from efficient_jax.training import checkpoint, loop, parallel, state, step
from efficient_jax.training.progress import StageProgress
from efficient_jax.types import Apply, Augment, Tree, UserError

PREDICT_BATCH = 512
PREDICT_PIXELS = 2**19  # in a batch on CPU: larger ones gain nothing and leave its caches
CHUNK = 64  # updates whose indices are sent to the devices together


class Supervision(NamedTuple):
    """What a stage learns from."""

    rows: dict[str, np.ndarray]  # stream -> images, those that count double twice
    labels: np.ndarray  # float32 [n classes]: people's, or the teacher's; zeros where there is neither
    pseudo_labels: dict[str, int] | None  # how many were kept and are right


def run_stage(stage: Stage, run: Run) -> dict[str, Any]:
    """Trains one stage, or finishes it; returns the result, which is also in its folder."""
    folder = run.workdir / stage.name
    folder.mkdir(exist_ok=True)
    if (folder / "result.json").exists():
        return records.read_json(folder / "result.json")
    started = time.perf_counter()
    key = _key(stage, run)
    description = description_of(stage, run)
    shape = input_shape(description)
    if shape != run.source.images.shape[1:]:
        run.console.print(f"{stage.name}: grey images, repeated in the {shape[-1]} channels of the network")
    module, apply = members.build(description)
    variables = models.init(module, keys.named(key, "init"), shape)
    if stage.init:
        variables, said = initial.variables(stage, variables, run.source.classes, shape, run.workdir)
        for line in said:
            run.console.print(f"{stage.name}: {line}", soft_wrap=True)
        mean, std = (" ".join(f"{value:.3f}" for value in description[key]) for key in ("mean", "std"))
        run.console.print(f"{stage.name}: images normalised by mean {mean} and std {std}", soft_wrap=True)
    supervision = supervise(stage, run)
    outcome.samples(folder, stage.augment, run.source.images, supervision.labels, supervision.rows, key)

    if run.source.multi_label and not len(run.split["validation"]):
        run.console.print(f"{stage.name}: no validation images, so the threshold of every label is 0.5")
    predict = step.make_predict(apply, run.devices, run.source.multi_label)
    fit = METHODS[stage.method[0]].fit
    if fit:
        ema = _fit(fit, stage, run, description, apply, predict, variables, supervision.labels)
    else:
        ema = _train(stage, run, description, predict, updates(stage, run, supervision, description, variables))
    validation, chosen = _validate(predict, ema, run)
    tested = predict_rows(predict, ema, run.split["test"], run)
    result = {
        "stage": stage.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "labels": len(run.split["labelled"]),
        "updates": stage.updates,
        "images_seen": stage.updates * sum(stage.batch.values()),
        "pseudo_labels": supervision.pseudo_labels,
        "validation": validation,
        **outcome.judge(folder, run.source, run.split["test"], tested, **chosen),
        "seconds": round(time.perf_counter() - started, 1),
    }
    records.write_json(folder / "result.json", result)
    return result


class Updates(NamedTuple):
    """The updates of a stage."""

    state: Tree  # before the first
    update: Callable[[Tree, dict[str, jax.Array]], tuple[Tree, dict]]  # the compiled step
    indices: Callable[[int], dict[str, jax.Array]]  # the images of update number i, and of those around it


def updates(
    stage: Stage, run: Run, supervision: Supervision, description: Mapping[str, Any], variables: Tree
) -> Updates:
    """Everything that the loop needs, placed on the devices and ready to compile."""
    frozen_params = optim.frozen(variables["params"], stage.optim["rules"])
    module, apply = members.build(description, stage.norm_axis or None, frozen_params)
    method = METHODS[stage.method[0]]
    teacher: tuple[Apply, ...] = ()
    frozen: Tree = {}
    if method.frozen_teacher:
        teacher_apply, teacher_variables = teacher_of(stage, run)
        teacher, frozen = (teacher_apply,), parallel.replicate({"teacher": teacher_variables}, run.devices)
    tx, table = optim.optimizer(variables["params"], steps=stage.updates, layers=module.layers(), **stage.optim)
    for line in optim.table_lines(table):
        run.console.print(f"{stage.name}: {line}", soft_wrap=True)
    loss_fn = method.loss(apply, stage.augment, *teacher, **stage.method[1])
    train_step = step.make_train_step(
        loss_fn,
        tx,
        ema_decay=stage.ema_decay,
        devices=run.devices,
        frozen=frozen_params,
        average_state=not stage.norm_axis,
    )
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
    of_schedule = {key: stage.optim[key] for key in ("learning_rate", "warmup", "schedule")}
    rate = optim.schedule(steps=stage.updates, **of_schedule)
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
                figures, chosen = _validate(predict, current["ema"], run)
                scores = _scores(figures) if figures else {}
                if scores:
                    log.write(i, scores)
                checkpoint.save(manager, i, current, description | chosen, next(iter(scores.values()), None))

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


def _fit(
    fit: Callable[..., Choice],
    stage: Stage,
    run: Run,
    description: dict[str, Any],
    apply: Apply,
    predict: Callable,
    variables: Tree,
    labels: np.ndarray,
) -> Tree:
    """The variables with the head that fits the features of the labelled images, saved like those of a training."""
    data = {"image": run.images, "label": parallel.replicate(labels, run.devices)}
    placed = parallel.replicate(variables, run.devices)

    def features(ids: np.ndarray, augmentation: Augment, view: int) -> tuple[np.ndarray, np.ndarray]:
        extract = step.make_extract(apply, augmentation, run.devices)
        key = parallel.replicate(jax.random.fold_in(keys.named(_key(stage, run), "views"), view), run.devices)
        return step.extract_rows(
            extract, placed, data, ids, key=key, batch=_predict_batch(run, ids), devices=run.devices
        )

    plain = augment.build((), {}, "")
    views = [
        features(run.split["labelled"], stage.augment if stage.views else plain, i) for i in range(stage.views or 1)
    ]
    seen, targets = (np.concatenate(each) for each in zip(*views, strict=True))
    ids = run.split["validation"]
    held = (features(ids, plain, 0)[0], run.source.targets(ids)) if len(ids) else None
    multi_label = run.source.multi_label
    choice = fit(seen, targets, run.seed, held, multi_label, len(views), **stage.method[1])
    measure = "mean average precision" if multi_label else "right"
    score = "" if np.isnan(choice.score) else f", {100 * choice.score:.1f}% {measure} on held-out images"
    run.console.print(f"{stage.name}: {len(seen):,} x {seen.shape[1]:,} features, l2 = {choice.l2:.3g}{score}")
    head = {"kernel": choice.kernel.astype(np.float32), "bias": choice.bias.astype(np.float32)}
    variables = variables | {"params": variables["params"] | {"head": head}}
    placed = parallel.replicate(variables, run.devices)
    with checkpoint.open_manager(run.workdir / stage.name) as manager:
        checkpoint.save(manager, 0, {"ema": placed}, description | _validate(predict, placed, run)[1], None)
    return placed


def supervise(stage: Stage, run: Run) -> Supervision:
    """The stage's streams and their labels; a teacher that labels images does so here, once, un-noised."""
    source, split = run.source, run.split
    labels = np.zeros((len(source.images), len(source.classes)), np.float32)
    labels[split["labelled"]] = source.targets(split["labelled"])
    rows = {stream: split[stream] for stream in stage.batch}
    label = METHODS[stage.method[0]].label
    if not label or "unlabelled" not in rows:
        return Supervision(rows, labels, None)
    ids = split["unlabelled"]
    apply, variables = teacher_of(stage, run)
    variables = parallel.replicate(variables, run.devices)
    probabilities = predict_rows(step.make_predict(apply, run.devices, source.multi_label), variables, ids, run)
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


def _key(stage: Stage, run: Run) -> jax.Array:
    return keys.named(jax.random.key(run.seed), stage.name)


def predict_rows(predict: Any, variables: Tree, ids: np.ndarray, run: Run) -> np.ndarray:
    return step.predict_rows(predict, variables, run.images, ids, batch=_predict_batch(run, ids), devices=run.devices)


def _predict_batch(run: Run, ids: np.ndarray) -> int:
    """A multiple of the number of devices."""
    h, w = run.source.images.shape[1:3]
    most = PREDICT_PIXELS // (h * w) if run.devices[0].platform == "cpu" else PREDICT_BATCH
    count = len(run.devices)
    return min(max(min(most, PREDICT_BATCH) // count, 1), -(-len(ids) // count)) * count


def _validate(predict: Any, variables: Tree, run: Run) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """(figures of the validation images, None where there are none; what belongs to the model: nothing, or where an
    image can have several labels, their "thresholds", the best on these images, so that F1 is a little optimistic).
    """
    ids, labels = run.split["validation"], run.source.labels[run.split["validation"]]
    if not len(ids):
        return None, {"thresholds": [0.5] * len(run.source.classes)} if run.source.multi_label else {}
    probabilities = predict_rows(predict, variables, ids, run)
    if not run.source.multi_label:
        return {"correct": int((probabilities.argmax(1) == labels).sum()), "n": len(ids)}, {}
    thresholds = metrics.thresholds(probabilities, labels)
    return metrics.several_labels(probabilities, labels, thresholds), {"thresholds": thresholds.tolist()}


def _scores(figures: Mapping[str, Any]) -> dict[str, float]:
    """What to log of validation; the first is what the best checkpoint has most of."""
    if "mean_average_precision" not in figures:
        return {"validation_accuracy": figures["correct"] / figures["n"]}
    return {f"validation_{name}": figures[name] for name in ("mean_average_precision", "micro_f1", "macro_f1")}


def read_config(workdir: Path, where: str) -> dict[str, Any]:
    """The config of a run, with tuples where it had them. UserError naming `where` if there is none."""
    if not (workdir / "config.json").is_file():
        raise UserError(f"{where}: {str(workdir)!r} has no config.json, which says what the stage was tested on")
    return _tuples(records.read_json(workdir / "config.json"))


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value
