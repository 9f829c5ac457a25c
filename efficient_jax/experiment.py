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

from efficient_jax import augment, initial, keys, label_store, members, metrics, models, optim, outcome, records
from efficient_jax.data import feed
from efficient_jax.linear_head import Choice
from efficient_jax.methods import METHODS
from efficient_jax.plan import Stage
from efficient_jax.preparation import (
    Run,
    description_of,
    input_shape,
    optimizer,
    parameters_of_method,
    streams,
    teachers_of,
)
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
    outcome.samples(folder, views_of(stage), run.source.images, supervision.labels, supervision.rows, key)

    if run.source.multi_label and not len(run.split["validation"]):
        run.console.print(f"{stage.name}: no validation images, so the threshold of every label is 0.5")
    predict = step.make_predict(apply, run.devices, run.source.multi_label)
    method = METHODS[stage.method[0]]
    if method.fit:
        ema = _fit(method.fit, stage, run, description, apply, predict, variables, supervision.labels)
    elif method.correct:
        ema = _correct(method.correct, stage, run, description, predict, variables)
    else:
        ema = _train(stage, run, description, predict, updates(stage, run, supervision, description, variables))
    validation, chosen = _validate(predict, ema, run)
    tested = predict_rows(predict, ema, run.split["test"], run)
    result = {
        "stage": stage.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "labels": len(supervision.rows.get("labelled", () if stage.batch else run.split["labelled"])),
        "updates": stage.updates,
        "images_seen": stage.updates * images_per_update(stage),
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
    method, model = METHODS[stage.method[0]], (members.build(description)[1], variables)
    teachers, theirs = teachers_of(stage, run) if method.frozen_teacher else ((), ())
    counts = run.source.targets(run.split["labelled"]).sum(0)
    frozen = parallel.replicate({"teacher": theirs, "class_counts": counts}, run.devices)
    of_method = parameters_of_method(stage, run, keys.named(_key(stage, run), "method"), model, teachers, theirs)
    frozen_params = optim.frozen(variables["params"] | of_method, stage.optim["rules"])
    module, apply = members.build(description, stage.norm_axis or None, frozen_params)
    tx, table = optimizer(stage, module, variables["params"], of_method)
    for line in optim.table_lines(table):
        run.console.print(f"{stage.name}: {line}", soft_wrap=True)
    views = (stage.augment, stage.strong_augment) if method.strong else (stage.augment,)
    given = (teachers,) if method.frozen_teacher else ()
    loss_fn = method.loss(apply, *views, *given, **stage.method[1])
    memory = method.memory(supervision.rows, len(run.images)) if method.memory else None
    train_step = step.make_train_step(
        loss_fn,
        tx,
        updates=stage.updates,
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
        state=parallel.replicate(state.create(variables, tx, of_method, memory), run.devices),
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
                images_per_update=images_per_update(stage),
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
    """The variables with the head that fits the features of the labelled images."""
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
    return _with_head(head, stage, run, description, predict, variables)


def _correct(
    correct: Callable[..., np.ndarray],
    stage: Stage,
    run: Run,
    description: dict[str, Any],
    predict: Callable,
    variables: Tree,
) -> Tree:
    """The variables with the head's bias moved by what they predict for the unlabelled images."""
    probabilities = predict_rows(predict, parallel.replicate(variables, run.devices), run.split["unlabelled"], run)
    shift = correct(probabilities, run.source.targets(run.split["labelled"]).mean(0), **stage.method[1])
    moved = ", ".join(f"{name} {by:+.2f}" for name, by in zip(run.source.classes, shift, strict=True))
    run.console.print(f"{stage.name}: bias {moved}", soft_wrap=True)
    head = variables["params"]["head"]
    head = head | {"bias": (head["bias"] + shift).astype(np.float32)}
    return _with_head(head, stage, run, description, predict, variables)


def _with_head(
    head: Tree, stage: Stage, run: Run, description: dict[str, Any], predict: Callable, variables: Tree
) -> Tree:
    """`variables` with another head, saved like those of a training."""
    variables = variables | {"params": variables["params"] | {"head": head}}
    placed = parallel.replicate(variables, run.devices)
    with checkpoint.open_manager(run.workdir / stage.name) as manager:
        checkpoint.save(manager, 0, {"ema": placed}, description | _validate(predict, placed, run)[1], None)
    return placed


def views_of(stage: Stage) -> dict[str, Augment]:
    """How the images of each stream are augmented, where twice the second time."""
    strong = METHODS[stage.method[0]].strong
    return {
        stream: stage.strong_augment if strong and stream == "unlabelled" else stage.augment for stream in stage.batch
    }


def images_per_update(stage: Stage) -> int:
    """How many the network is trained on, those with a strong view twice."""
    return sum(stage.batch.values()) + METHODS[stage.method[0]].strong * stage.batch.get("unlabelled", 0)


def supervise(stage: Stage, run: Run) -> Supervision:
    """The stage's streams and their labels; a teacher that labels images does so here, once, un-noised."""
    source, split = run.source, run.split
    labels = np.zeros((len(source.images), len(source.classes)), np.float32)
    labels[split["labelled"]] = source.targets(split["labelled"])
    rows = streams(stage, source, split)
    if stage.balanced:
        rows["labelled"] = np.repeat(rows["labelled"], feed.balanced(source.labels[rows["labelled"]], run.seed))
    label = METHODS[stage.method[0]].label
    if not label:
        return Supervision(rows, labels, None)
    ids = rows["unlabelled"]
    labels[ids], copies, counts = _pseudo_labels(label, stage, run, ids)
    rows["unlabelled"] = np.repeat(ids, copies)
    return Supervision(rows, labels, counts)


def _pseudo_labels(
    label: Callable[..., tuple[np.ndarray, np.ndarray]], stage: Stage, run: Run, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """(labels, copies, how many were kept and are right) of the unlabelled images; the stage's folder has the store.

    An interrupted stage takes the predictions from there, if they are the same teachers'.
    """
    source, folder, names = run.source, run.workdir / stage.name, ", ".join(stage.teachers)
    applies, variables = teachers_of(stage, run)
    hashes = ", ".join(checkpoint.fingerprint(tree) for tree in variables)
    asked: dict[str, Any] = {"teacher": names, "teacher_hash": hashes, "class_map": stage.class_map}
    asked |= {"method": stage.method[0], "settings": stage.pseudo_labels, "seed": run.seed}
    probabilities = label_store.read(folder, asked, ids)
    if probabilities is None:
        predicted = [
            predict_rows(
                step.make_predict(apply, run.devices, source.multi_label),
                parallel.replicate(tree, run.devices),
                ids,
                run,
            )
            for apply, tree in zip(applies, variables, strict=True)
        ]
        probabilities = np.mean(predicted, axis=0)
    else:
        run.console.print(f"{stage.name}: predictions of {names} are those of {label_store.TABLE}")
    try:
        labels, copies = label(probabilities, run.seed, **stage.pseudo_labels)
    except UserError as error:
        raise UserError(f"config.{stage.name}.{error}") from error
    round_ = label_store.Round(ids, probabilities, labels, copies, stage.pseudo_labels["threshold"])
    audit = label_store.audit(source, run.split["labelled"], round_, stage.batch["unlabelled"])
    label_store.write(folder, source, round_, asked | audit)
    counts = {name: audit[name] for name in ("pool", "kept", "known", "right")}
    run.console.print(f"{stage.name}: {counts['kept']:,} of {counts['pool']:,} pseudo-labels kept")
    for warning in audit["warnings"]:
        run.console.print(f"{stage.name}: {warning}", soft_wrap=True)
    return labels, copies, counts | {"classes_without": len(audit["without"])}


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
