"""Trains a stage: builds its steps, and runs the loop with its checkpoints and log."""

import contextlib
import dataclasses
import itertools
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from efficient_jax import files
from efficient_jax.data import sampling
from efficient_jax.data.stream import Streamed
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.predict import scores, validate
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.experiment.targets import Supervision
from efficient_jax.methods import build_loss
from efficient_jax.models import adapters
from efficient_jax.optim import optimizer
from efficient_jax.settings import parameters
from efficient_jax.training import batches, checkpoint, loop, parallel, profiling, state, step, stopping, tracking
from efficient_jax.training.labels import counts
from efficient_jax.training.loss import LossFn
from efficient_jax.training.predict import Predict
from efficient_jax.training.progress import StageProgress
from efficient_jax.training.step import Inputs
from efficient_jax.types import Metrics, Tree

SECONDS = "seconds.json"
"""In the folder of a stage: how long it has trained until its newest checkpoint, all attempts together."""
CHUNK = 64  # steps whose indices are sent to the devices together


class TrainSteps(NamedTuple):
    """The steps of a stage."""

    state: Tree  # before the first
    loss_fn: LossFn
    step: Any  # a `Step`, pmapped
    arguments: Callable[[Tree, Inputs], tuple[Any, ...]]  # of `step`
    inputs: Callable[[int, int], Iterator[Inputs]]  # (first, end) -> inputs of each step; an entry may hold several

    def run(self, current: Tree, inputs: Inputs) -> tuple[Tree, Metrics]:
        """Does a step.

        Args:
            current: the state; donated.
            inputs: images of the step, from `inputs`.

        Returns: (next state, name of a metric -> (sum, count)).
        """
        renewed: tuple[Tree, Metrics] = self.step(*self.arguments(current, inputs))
        return renewed


class Program(NamedTuple):
    """The parts of a training step."""

    loss_fn: LossFn
    tx: optax.GradientTransformation
    table: list[optimizer.Row]  # parameters of each rule of the optimizer
    frozen: Tree  # which parameters do not train
    added: Tree  # parameters that the method or an adapter trains beside those of the model
    merge: adapters.Merge  # makes the parameters of the model of all


def build_program(stage: Stage, variables: Tree) -> Program:
    """Returns the loss and the optimizer of a stage. The dry run traces what it returns.

    Args:
        stage: a stage with a method that trains.
        variables: variables of its network, arrays or their shapes.

    Raises: UserError for an optimizer rule without parameters, and for settings of the method out of range.
    """
    config = stage.config
    added = _added_parameters(stage, variables)
    merge: adapters.Merge = adapters.none
    if config.lora:
        pairs, merge = adapters.lora(stage.key("lora"), variables["params"], **config.lora)
        added |= pairs
    params = variables["params"] | added
    frozen = optimizer.frozen(params, stage.optim["rules"])
    module, apply = stage.spec.build(config.norm_axis or None, frozen)
    *lower, last = module.layers()
    layers = (*lower, "|".join([last, *(f"{name}/.*" for name in added)]))  # added ones get the head's learning rate
    tx, table = optimizer.optimizer(params, steps=stage.steps, layers=layers, **stage.optim)
    views = config.augment, config.strong_augment
    loss_fn = build_loss(
        config.method,
        adapters.merging(apply, merge),
        *views,
        stage.teachers,
        stage.run.data.task,
        config.method_settings,
    )
    return Program(loss_fn, tx, table, frozen, added, merge)


def _added_parameters(stage: Stage, variables: Tree) -> Tree:
    """Returns the parameters that the method trains beside the model; {} for most."""
    make = stage.config.method.parameters
    if not make:
        return {}
    image = jax.ShapeDtypeStruct((1, *stage.spec.image_shape), np.uint8)
    teacher = zip(stage.teachers[:1], stage.teacher_variables[:1], strict=True)
    networks = [(stage.apply, variables), *teacher]
    intermediates = [
        jax.eval_shape(lambda v, x, apply=apply: apply(v, x, False, None)[0][1], tree, image)
        for apply, tree in networks
    ]
    read = {name: stage.config.method_settings[name] for name in parameters(make)}
    return make(stage.key("method"), *intermediates, **read)


def build_train_steps(stage: Stage, supervision: Supervision, variables: Tree) -> TrainSteps:
    """Returns everything that the loop needs, placed on the devices and ready to compile.

    Args:
        stage: a stage with a method that trains.
        supervision: its streams and targets.
        variables: variables of its network, before the first step.

    Raises: UserError as `build_program`.
    """
    config, method, run_data = stage.config, stage.config.method, stage.run.data
    images, devices = run_data.images, run_data.devices
    classes, labelled = len(run_data.source.classes), run_data.split["labelled"]
    of_task = run_data.task.class_counts
    class_counts = (
        of_task(run_data.source.labels[labelled], classes) if of_task else counts(supervision.labels, labelled, classes)
    )
    teachers_placed, counts_placed = parallel.replicate((stage.teacher_variables, class_counts), devices)
    program = build_program(stage, variables)
    stage.run.console.print(f"\n{config.name}: {stage.steps:,} steps; learning rates of its parameters:")
    for line in optimizer.table_lines(program.table):
        stage.run.console.print(f"  {line}", soft_wrap=True)
    memory = method.memory(supervision.rows, len(images), classes) if method.memory else None
    other_data = {"label": supervision.labels, **run_data.entries}
    data = batches.resident(images) | parallel.replicate(other_data, devices)
    train_step = step.make_train_step(
        program.loss_fn,
        program.tx,
        steps=stage.steps,
        ema_decay=config.ema_decay,
        devices=devices,
        frozen=program.frozen,
        average_state=not config.norm_axis,
        accumulate=config.accumulate,
        sam=config.sam,
        merge=program.merge,
        shard_state=stage.run.plan.shard_state,
    )
    key = parallel.replicate(stage.key("train"), devices)
    orders = {stream: zlib.crc32(f"{stage.run.plan.seed}/{config.name}/{stream}".encode()) for stream in config.batch}

    together = 1 if isinstance(images, Streamed) else CHUNK

    def chunk(number: int) -> Inputs:
        steps = range(number * together, (number + 1) * together)
        rows = {
            stream: np.stack([sampling.batch_at(supervision.rows[stream], size, i, orders[stream]) for i in steps])
            for stream, size in config.batch.items()
        }
        return {stream: batches.on_devices(images, rows[stream], devices) for stream in rows}

    def between(first: int, end: int) -> Iterator[Inputs]:
        chunks = range(first // together, -(-end // together))
        inputs = batches.ahead(chunk, chunks) if together == 1 else map(chunk, chunks)
        repeated = itertools.chain.from_iterable(itertools.repeat(steps, together) for steps in inputs)
        return itertools.islice(repeated, first % together, None)

    def first_state(variables: Tree, added: Tree, memory: Tree) -> Tree:
        return state.create(variables, program.tx, added, memory)

    begin = variables, program.added, memory
    place = parallel.spread if stage.run.plan.shard_state else parallel.copied
    return TrainSteps(
        state=place(first_state, begin, devices),
        loss_fn=program.loss_fn,
        step=train_step,
        arguments=lambda current, inputs: (current, teachers_placed, counts_placed, data, key, inputs),
        inputs=between,
    )


def train(
    stage: Stage,
    predict: Predict,
    train_steps: TrainSteps,
    started: float,
    stop: stopping.Stop,
    measure: Callable[[Tree], dict[str, float]] | None = None,
) -> Tree:
    """Trains a stage, from its newest checkpoint on if it has any.

    Args:
        stage: a stage with a method that trains.
        predict: computes probabilities, see `training.predict.make_predict`.
        train_steps: as from `build_train_steps`.
        started: `time.perf_counter()` when the stage began, less the seconds of earlier attempts.
        stop: called after every step.
        measure: returns figures of the averaged variables, in place of those of validation images; for methods that
            train no head.

    Returns: the averaged variables after the last step; with validation images those of the best checkpoint.

    Raises: Stopped, when `stop` is True; the training so far is saved. UserError where loss or weights are not finite.
    """
    config, run = stage.config, stage.run
    of_rate = {key: stage.optim[key] for key in ("learning_rate", "warmup", "schedule")}
    rate = optimizer.schedule(steps=stage.steps, **of_rate)
    folder, task = run.workdir / config.name, run.data.task
    where = f"stage {config.name!r}"
    with checkpoint.saving(folder, where, config.keep_every) as manager:
        for beyond in [step for step in manager.all_steps() if step > stage.steps]:
            manager.delete(beyond)  # a head that was fitted after the last step, before the stage was stopped
        first, current = checkpoint.newest(manager, train_steps.state, run.data.devices, stage.log)
        if first:
            stage.log(f"goes on after step {first:,} of {stage.steps:,}")
        stop.after = "compiling and one step, with a checkpoint"
        with (
            tracking.metrics_log(folder, first, run.plan.track) as log,
            StageProgress(run.console, config.name, first=first, steps=stage.steps) as progress,
        ):
            inputs = train_steps.inputs(first, stage.steps)
            validated = False

            def run_step(current: Tree, _: int) -> tuple[Tree, Metrics]:
                renewed = train_steps.run(current, next(inputs))
                progress.compiled()
                stop.after = "this step, with a checkpoint"
                return renewed

            def on_log(i: int, values: Mapping[str, float]) -> None:
                log(i, {**values, "learning_rate": float(rate(i - 1))})
                progress.show(i, values)

            def on_save(i: int, current: Tree) -> None:
                nonlocal validated
                parallel.assert_replicas_agree(current)
                regular = i % config.save_every == 0 or i == stage.steps  # a stop adds no candidate for the best
                evaluated = not measure and (regular or task.thresholds is not None)
                averaged = parallel.whole(current["ema"], run.data.devices)
                if measure and regular:
                    with progress.apart():
                        log(i, measure(averaged))
                with contextlib.nullcontext() if validated else progress.apart():
                    figures, thresholds = validate(predict, averaged, run.data) if evaluated else (None, ())
                validated = validated or evaluated
                validation_scores = scores(task, figures) if figures and regular else {}
                if validation_scores:
                    log(i, validation_scores)
                spec = dataclasses.replace(stage.spec, thresholds=thresholds)
                checkpoint.save(manager, i, current, spec, next(iter(validation_scores.values()), None))
                files.write_json(folder / SECONDS, {"seconds": round(time.perf_counter() - started, 1)})

            traced_steps = profiling.after_compiling(run.profile, first, stage.steps)
            with profiling.traced(run_step, traced_steps, folder) as traced_step:
                current = loop.run(
                    traced_step,
                    current,
                    first=first,
                    steps=stage.steps,
                    log_every=config.log_every,
                    save_every=config.save_every,
                    images_per_step=images_per_step(config),
                    log=on_log,
                    save=on_save,
                    stop=stop,
                    where=where,
                )
        manager.wait_until_finished()
        if first % config.save_every and first != stage.steps and first in manager.all_steps():
            manager.delete(first)  # saved by a stop; an uninterrupted run does not have it
    with checkpoint.open_manager(folder, config.keep_every) as manager:
        best = checkpoint.best_step(manager)
        if best is not None and best != stage.steps:
            current = checkpoint.restore(manager, best, current, run.data.devices)
    stop.after = ""
    return parallel.whole(current["ema"], run.data.devices)


def images_per_step(config: StageConfig) -> int:
    """Returns how many images the network is trained on in a step; those with two views count twice.

    Args:
        config: config of the stage.
    """
    return sum(config.batch.values()) + config.method.needs("strong_augment") * config.batch.get("unlabelled", 0)
