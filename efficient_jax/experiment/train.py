"""Trains a stage: builds its updates, and runs the loop with its checkpoints and log."""

import contextlib
import dataclasses
import functools
import itertools
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from efficient_jax import files, keys
from efficient_jax.data import sampling
from efficient_jax.data.stream import Streamed
from efficient_jax.experiment.predict import scores, validate
from efficient_jax.experiment.run import Run, image_shape, key_of
from efficient_jax.experiment.stage_config import Stage
from efficient_jax.experiment.targets import Supervision
from efficient_jax.methods import build_loss
from efficient_jax.models.spec import ModelSpec
from efficient_jax.optim import optimizer
from efficient_jax.tasks import TASKS, targets
from efficient_jax.training import batches, checkpoint, loop, parallel, state, step, stopping
from efficient_jax.training.loss import LossFn
from efficient_jax.training.progress import StageProgress
from efficient_jax.training.step import Given
from efficient_jax.types import Apply, Tree

SECONDS = "seconds.json"
"""In the folder of a stage: how long it has trained until its newest checkpoint, all attempts together."""
CHUNK = 64  # updates whose indices are sent to the devices together


class Updates(NamedTuple):
    """The updates of a stage."""

    state: Tree  # before the first
    loss_fn: LossFn
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
    spec: ModelSpec,
    variables: Tree,
    taught: tuple[tuple[Apply, ...], tuple[Tree, ...]] = ((), ()),
) -> Updates:
    """Everything that the loop needs, placed on the devices and ready to compile; `taught`: the teachers that the
    method's loss asks."""
    method, model = stage.method, (spec.build()[1], variables)
    teachers, theirs = taught
    counts = targets(run.source, run.split["labelled"]).sum(0)
    theirs_placed, counts_placed = parallel.replicate((theirs, counts), run.devices)
    of_method = parameters_of_method(stage, run, keys.named(key_of(stage, run), "method"), model, teachers, theirs)
    frozen = optimizer.frozen(variables["params"] | of_method, stage.optim["rules"])
    module, apply = spec.build(stage.norm_axis or None, frozen)
    tx, table = optimizer_of(stage, module, variables["params"], of_method)
    for line in optimizer.table_lines(table):
        run.console.print(f"{stage.name}: {line}", soft_wrap=True)
    loss_fn = build_loss(
        method, apply, stage.augment, stage.strong_augment, teachers, TASKS[run.source.task], stage.method_settings
    )
    memory = method.memory(supervision.rows, len(run.images)) if method.memory else None
    beside = {"label": supervision.labels, **run.source.objects}
    data = batches.resident(run.images) | parallel.replicate(beside, run.devices)
    train_step = step.make_train_step(
        loss_fn,
        tx,
        updates=stage.updates,
        ema_decay=stage.ema_decay,
        devices=run.devices,
        frozen=frozen,
        average_state=not stage.norm_axis,
        accumulate=stage.accumulate,
    )
    key = parallel.replicate(keys.named(key_of(stage, run), "train"), run.devices)
    orders = {stream: zlib.crc32(f"{run.seed}/{stage.name}/{stream}".encode()) for stream in stage.batch}

    together = 1 if isinstance(run.images, Streamed) else CHUNK

    def chunk(number: int) -> Given:
        steps = range(number * together, (number + 1) * together)
        rows = {
            stream: np.stack([sampling.batch_at(supervision.rows[stream], size, i, orders[stream]) for i in steps])
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
        arguments=lambda current, given: (current, theirs_placed, counts_placed, data, key, given),
        given=from_update,
    )


def train(
    stage: Stage,
    run: Run,
    spec: ModelSpec,
    predict: Callable,
    each: Updates,
    started: float,
    stop: stopping.Stop,
) -> Tree:
    """The averaged variables after all updates, or the best of them on validation where there is such a split."""
    of_schedule = {key: stage.optim[key] for key in ("learning_rate", "warmup", "schedule")}
    rate = optimizer.schedule(steps=stage.updates, **of_schedule)
    folder, task = run.workdir / stage.name, TASKS[run.source.task]
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
                judged = timely or task.thresholds is not None
                with contextlib.nullcontext() if validated else progress.apart():
                    figures, thresholds = validate(predict, current["ema"], run) if judged else (None, ())
                validated = validated or judged
                found = scores(task, figures) if figures and timely else {}
                if found:
                    log(i, found)
                kept = dataclasses.replace(spec, thresholds=thresholds)
                checkpoint.save(manager, i, current, kept, next(iter(found.values()), None))
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


def images_per_update(stage: Stage) -> int:
    """How many the network is trained on, those with a strong view twice."""
    return sum(stage.batch.values()) + stage.method.needs("strong_augment") * stage.batch.get("unlabelled", 0)


def optimizer_of(
    stage: Stage, module: Any, params: Tree, of_method: Tree
) -> tuple[optax.GradientTransformation, list[optimizer.Row]]:
    """As `optimizer.optimizer`; what the method trains beside the model is in the layer of the head."""
    *lower, last = module.layers()
    layers = (*lower, "|".join([last, *(f"{name}/.*" for name in of_method)]))
    return optimizer.optimizer(params | of_method, steps=stage.updates, layers=layers, **stage.optim)


def parameters_of_method(
    stage: Stage, run: Run, key: jax.Array, model: tuple[Apply, Tree], teachers: tuple[Apply, ...], theirs: Tree
) -> Tree:
    """What the method trains beside the model; {} for most."""
    make = stage.method.parameters
    if not make:
        return {}
    image = jax.ShapeDtypeStruct((1, *image_shape(stage, run)), np.uint8)
    seen = [
        jax.eval_shape(lambda v, x, apply=apply: apply(v, x, False, None)[0][1], variables, image)
        for apply, variables in (model, (teachers[0], theirs[0]))
    ]
    return make(key, *seen, **stage.method_settings)
