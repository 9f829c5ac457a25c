"""Runs the stages of a plan in order. Each has its folder under the workdir, resumes from its newest checkpoint, and
is left alone when it is finished."""

import contextlib
import functools
import itertools
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from efficient_jax import augment, files, keys, losses, models
from efficient_jax.data import sampling as feed
from efficient_jax.data.stream import Streamed
from efficient_jax.experiment import initialise, results
from efficient_jax.experiment.predict import predict_batch, predict_rows, scores, validate
from efficient_jax.experiment.run import (
    Run,
    at_size,
    description_of,
    image_shape,
    input_shape,
    optimizer,
    parameters_of_method,
    teachers_of,
)
from efficient_jax.experiment.stage_config import Stage
from efficient_jax.experiment.targets import Supervision, supervise
from efficient_jax.inference import predictions
from efficient_jax.methods import METHODS, view
from efficient_jax.methods.linear_head import Choice
from efficient_jax.optim import optimizer as optim
from efficient_jax.training import batches, checkpoint, loop, parallel, state, step, stopping, trained
from efficient_jax.training.progress import StageProgress
from efficient_jax.training.step import Given
from efficient_jax.types import Apply, Augment, Saliency, Tree

SECONDS = "seconds.json"
"""In the folder of a stage: how long it has trained until its newest checkpoint, all attempts together."""

CHUNK = 64  # updates whose indices are sent to the devices together


def run_stage(stage: Stage, run: Run, stop: stopping.Stop | None = None) -> dict[str, Any]:
    """Trains one stage, or finishes it; returns the result, which is also in its folder.

    Args:
        stage: the stage, one of `run.stages`.
        run: what all stages share.
        stop: asked before and after training and after every step; None: nobody asks to stop.

    Raises: Stopped, when `stop` says so; what was trained is saved.
    """
    stop = stop or stopping.Stop()
    folder = run.workdir / stage.name
    folder.mkdir(exist_ok=True)
    if (folder / "result.json").exists():
        return files.read_json(folder / "result.json")
    earlier = files.read_json(folder / SECONDS)["seconds"] if (folder / SECONDS).exists() else 0.0
    started = time.perf_counter() - earlier
    supervision = supervise(stage, run)
    stop.check(f"before the first step of stage {stage.name!r}")
    run = at_size(run, stage.size)
    key = _key(stage, run)
    description = description_of(stage, run)
    shape = input_shape(description)
    if shape != image_shape(stage, run):
        run.console.print(f"{stage.name}: grey images, repeated in the {shape[-1]} channels of the network")
    module, apply = trained.build(description)
    variables = models.init(module, keys.named(key, "init"), shape)
    if stage.init:
        variables, said = initialise.variables(stage, variables, run.source.classes, shape, run.workdir, run.restored)
        for line in said:
            run.console.print(f"{stage.name}: {line}", soft_wrap=True)
        mean, std = (" ".join(f"{value:.3f}" for value in description[key]) for key in ("mean", "std"))
        run.console.print(f"{stage.name}: images normalised by mean {mean} and std {std}", soft_wrap=True)
    data = {"image": run.source.images, "label": supervision.labels, **run.source.objects}
    of_each = losses.sigmoid_cross_entropy if run.source.multi_label else losses.cross_entropy
    views = views_of(stage, view.saliency_of(apply, variables, of_each))
    results.samples(folder, views, data, supervision.rows, key)

    if run.source.multi_label and not len(run.split["validation"]):
        run.console.print(f"{stage.name}: no validation images, so the threshold of every label is 0.5")
    predict = step.make_predict(apply, run.devices, run.source.multi_label)
    method = METHODS[stage.method[0]]
    if method.fit:
        ema = _fit(method.fit, stage, run, description, apply, predict, variables, supervision.labels)
    elif method.correct:
        ema = _correct(method.correct, stage, run, description, predict, variables)
    else:
        taught = teachers_of(stage, run) if method.frozen_teacher else ((), ())
        each = updates(stage, run, supervision, description, variables, taught)
        ema = _train(stage, run, description, predict, each, started, stop)
    stop.check(f"after the last step of stage {stage.name!r}")
    validation, chosen = validate(predict, ema, run, folder / predictions.FILES["validation"])
    tested = predict_rows(predict, ema, run.split["test"], run)
    learned = supervision.rows.get("labelled", () if stage.batch else run.split["labelled"])
    result = {
        "stage": stage.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "labels": len(np.intersect1d(learned, run.split["labelled"])),  # without generated images
        "updates": stage.updates,
        "update": checkpoint.chosen(folder),  # whose weights the figures are of: the best on validation, or the last
        "images_seen": stage.updates * images_per_update(stage),
        "pseudo_labels": supervision.pseudo_labels,
        "validation": validation,
        **results.judge(folder, run.source, run.split["test"], tested, **chosen),
        "seconds": round(time.perf_counter() - started, 1),
    }
    files.write_json(folder / "result.json", result)
    return result


class Updates(NamedTuple):
    """The updates of a stage."""

    state: Tree  # before the first
    loss_fn: step.LossFn
    step: Any  # pmapped
    arguments: Callable[[Tree, Given], tuple]  # of `step`
    given: Callable[[int], Iterator[Given]]  # from update number i on: its images, and of those around it

    def update(self, current: Tree, given: Given) -> tuple[Tree, dict]:
        """The next state, and the sums of the metrics."""
        return self.step(*self.arguments(current, given))


def updates(
    stage: Stage,
    run: Run,
    supervision: Supervision,
    description: Mapping[str, Any],
    variables: Tree,
    taught: tuple[tuple[Apply, ...], tuple[Tree, ...]] = ((), ()),
) -> Updates:
    """Everything that the loop needs, placed on the devices and ready to compile; `taught`: the teachers that the
    method's loss asks."""
    method, model = METHODS[stage.method[0]], (trained.build(description)[1], variables)
    teachers, theirs = taught
    counts = run.source.targets(run.split["labelled"]).sum(0)
    frozen = parallel.replicate({"teacher": theirs, "class_counts": counts}, run.devices)
    of_method = parameters_of_method(stage, run, keys.named(_key(stage, run), "method"), model, teachers, theirs)
    frozen_params = optim.frozen(variables["params"] | of_method, stage.optim["rules"])
    module, apply = trained.build(description, stage.norm_axis or None, frozen_params)
    tx, table = optimizer(stage, module, variables["params"], of_method)
    for line in optim.table_lines(table):
        run.console.print(f"{stage.name}: {line}", soft_wrap=True)
    views = (stage.augment, stage.strong_augment) if method.strong else (stage.augment,)
    given = (teachers,) if method.frozen_teacher else ()
    loss_fn = method.loss(apply, *views, *given, **stage.method[1])
    memory = method.memory(supervision.rows, len(run.images)) if method.memory else None
    beside = {"label": supervision.labels, **run.source.objects}
    data = batches.resident(run.images) | parallel.replicate(beside, run.devices)
    train_step = step.make_train_step(
        loss_fn,
        tx,
        updates=stage.updates,
        ema_decay=stage.ema_decay,
        devices=run.devices,
        frozen=frozen_params,
        average_state=not stage.norm_axis,
        accumulate=stage.accumulate,
    )
    key = parallel.replicate(keys.named(_key(stage, run), "train"), run.devices)
    orders = {stream: zlib.crc32(f"{run.seed}/{stage.name}/{stream}".encode()) for stream in stage.batch}

    together = 1 if isinstance(run.images, Streamed) else CHUNK

    def chunk(number: int) -> Given:
        steps = range(number * together, (number + 1) * together)
        rows = {
            stream: np.stack([feed.batch_at(supervision.rows[stream], size, i, orders[stream]) for i in steps])
            for stream, size in stage.batch.items()
        }
        return {stream: batches.given(run.images, rows[stream], run.devices) for stream in rows}

    def from_update(first: int) -> Iterator[Given]:
        chunks = range(first // together, -(-stage.updates // together))
        made = batches.ahead(chunk, chunks) if together == 1 else map(chunk, chunks)
        repeated = itertools.chain.from_iterable(itertools.repeat(each, together) for each in made)
        return itertools.islice(repeated, first % together, None)

    return Updates(
        state=parallel.replicate(state.create(variables, tx, of_method, memory), run.devices),
        loss_fn=loss_fn,
        step=train_step,
        arguments=lambda current, given: (current, frozen, data, key, given),
        given=from_update,
    )


def _train(
    stage: Stage,
    run: Run,
    description: dict[str, Any],
    predict: Callable,
    each: Updates,
    started: float,
    stop: stopping.Stop,
) -> Tree:
    """The averaged variables after all updates, or the best of them on validation where there is such a split."""
    of_schedule = {key: stage.optim[key] for key in ("learning_rate", "warmup", "schedule")}
    rate = optim.schedule(steps=stage.updates, **of_schedule)
    folder = run.workdir / stage.name
    where = f"stage {stage.name!r}"
    with checkpoint.saving(folder, where, stage.keep_every) as manager:
        say = functools.partial(run.console.print, soft_wrap=True)
        first, current = checkpoint.newest(manager, each.state, run.devices, lambda said: say(f"{stage.name}: {said}"))
        if first:
            say(f"{stage.name}: goes on after step {first:,} of {stage.updates:,}")
        stop.after = "compiling and one update, with a checkpoint"
        with (
            files.metrics_log(folder, first) as log,
            StageProgress(run.console, stage.name, first=first, updates=stage.updates) as progress,
        ):
            given = each.given(first)
            validated = False

            def update(current: Tree, _: int) -> tuple[Tree, dict]:
                made = each.update(current, next(given))
                progress.compiled()
                stop.after = "this update, with a checkpoint"
                return made

            def on_log(i: int, values: Mapping[str, float]) -> None:
                log(i, {**values, "learning_rate": float(rate(i - 1))})
                progress.show(i, values)

            def on_save(i: int, current: Tree) -> None:
                nonlocal validated
                parallel.assert_replicas_agree(current)
                timely = i % stage.save_every == 0 or i == stage.updates  # a stop must not make another the best
                judged = timely or run.source.multi_label
                with contextlib.nullcontext() if validated else progress.apart():
                    figures, chosen = validate(predict, current["ema"], run) if judged else (None, {})
                validated = validated or judged
                found = scores(figures) if figures and timely else {}
                if found:
                    log(i, found)
                checkpoint.save(manager, i, current, description | chosen, next(iter(found.values()), None))
                files.write_json(folder / SECONDS, {"seconds": round(time.perf_counter() - started, 1)})

            current = loop.run(
                update,
                current,
                first=first,
                updates=stage.updates,
                log_every=stage.log_every,
                save_every=stage.save_every,
                images_per_update=images_per_update(stage),
                log=on_log,
                save=on_save,
                stop=stop,
                where=where,
            )
        manager.wait_until_finished()
        if first % stage.save_every and first != stage.updates and first in manager.all_steps():
            manager.delete(first)  # of a stop: no snapshot that an unstopped run has
    with checkpoint.open_manager(folder, stage.keep_every) as manager:
        best = checkpoint.best_step(manager)
        if best is not None and best != stage.updates:
            current = checkpoint.restore(manager, best, current, run.devices)
    stop.after = ""
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
            extract, placed, data, ids, key=key, batch=predict_batch(run, ids), devices=run.devices
        )

    without_head = {name: tree for name, tree in variables["params"].items() if name != "head"}
    network = checkpoint.fingerprint(variables | {"params": without_head})
    about = json.dumps({name: value for name, value in description.items() if name != "classes"}, sort_keys=True)
    plain = augment.build((), {}, "")

    def unaugmented(part: str) -> np.ndarray:
        """The same for all heads on one network."""
        return run.once(("features", network, about, part), lambda: features(run.split[part], plain, 0)[0])

    labelled, ids = run.split["labelled"], run.split["validation"]
    if stage.views:
        views = [features(labelled, stage.augment, i) for i in range(stage.views)]
    else:
        views = [(unaugmented("labelled"), labels[labelled])]
    seen, targets = (np.concatenate(each) for each in zip(*views, strict=True))
    held = (unaugmented("validation"), run.source.targets(ids)) if len(ids) else None
    multi_label = run.source.multi_label
    choice = fit(seen, targets, run.seed, held, multi_label, len(views), **stage.method[1])
    measure = "mean average precision" if multi_label else "right"
    score = "" if np.isnan(choice.score) else f", {100 * choice.score:.1f}% {measure} on held-out images"
    if np.isnan(choice.score) and stage.method[1].get("head") == "ridge":
        score = "; its probabilities are not calibrated: too few classes have two labelled images"
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
    with checkpoint.saving(run.workdir / stage.name, f"stage {stage.name!r}") as manager:
        checkpoint.save(manager, 0, {"ema": placed}, description | validate(predict, placed, run)[1], None)
    return placed


def views_of(stage: Stage, saliency: Saliency) -> dict[str, Augment]:
    """How the images of each stream are augmented, where twice the second time; `saliency` for operations that ask."""
    strong = METHODS[stage.method[0]].strong
    chosen = {
        stream: stage.strong_augment if strong and stream == "unlabelled" else stage.augment for stream in stage.batch
    }
    return {stream: functools.partial(each, saliency=saliency) for stream, each in chosen.items()}


def images_per_update(stage: Stage) -> int:
    """How many the network is trained on, those with a strong view twice."""
    return sum(stage.batch.values()) + METHODS[stage.method[0]].strong * stage.batch.get("unlabelled", 0)


def _key(stage: Stage, run: Run) -> jax.Array:
    return keys.named(jax.random.key(run.seed), stage.name)
