"""bench: how fast a config trains on these devices, where the time goes, and what limits it."""

import contextlib
import dataclasses
import functools
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict
from rich.console import Console

from efficient_jax import files, keys, models, settings
from efficient_jax.distributed import console, log
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dry_run import dry_run
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.experiment.streams import streams
from efficient_jax.experiment.targets import Supervision
from efficient_jax.experiment.train import TrainSteps, build_train_steps, images_per_step
from efficient_jax.experiment.workdir import writable
from efficient_jax.models.spec import ModelSpec
from efficient_jax.report import layout, tables
from efficient_jax.training import benchmark, loop, step
from efficient_jax.training.labels import Labels
from efficient_jax.training.progress import StageProgress
from efficient_jax.types import Augment, Batch, Metrics, Saliency, Tree


class Logged(Exception):
    """Raised to end a measured loop once its last step is logged."""


class Programs(NamedTuple):
    """The measured programs of a stage; their states have the same shapes, so each continues from any other."""

    whole: TrainSteps  # training steps
    plain: TrainSteps  # training steps without augmentation
    forward: Any  # the forward pass without augmentation


class Memory(TypedDict):
    """Bytes of a device."""

    resident: int  # arguments and results of the step
    temporary: int
    peak: int | None  # None where the device does not tell


class Figures(TypedDict):
    """What bench.json says of a stage; parts of a step are "feed", "forward", "plain", "step" and "loop"."""

    stage: str
    images_per_step: int
    rounds: dict[str, list[float]]  # part -> seconds of a step
    seconds_per_step: dict[str, float]  # part -> median
    images_per_second: dict[str, float]
    share_of_step: dict[str, float]
    loop_of_step: float
    compile_seconds: float
    flops_per_image: float
    utilisation: float
    limits: dict[str, float]  # seconds of a step: "operations" and "bytes"
    rates: dict[str, float]  # of the device
    memory: Memory


def bench(
    config: ConfigDict = "configs/quickstart.py",
    workdir: str = "runs/bench",
    stage: str = "",
    seconds: float = 2.0,
    repeats: int = 7,
) -> None:
    """Measures where the time of a training step goes: input, forward and backward pass, augmentation, loop.

    The parts alternate in rounds; shares are medians over the rounds. The limits of the compiled step follow from its
    operations and bytes, and from the speed of a matrix product and of a copy on this device. Writes
    WORKDIR/bench.json.

    Args:
        config: FILE or FILE:tiny; its weights are not trained.
        workdir: folder for bench.json.
        stage: the stage to measure; empty: all.
        seconds: about how long each part runs in a round, above 0.
        repeats: number of rounds, 1 or more.

    Raises:
        UserError: a flag or the config is wrong.
    """
    if not 0.0 < seconds < float("inf") or repeats < 1:
        raise UserError(f"--seconds={seconds} --repeats={repeats}: want seconds above 0 and 1 or more repeats")
    checked = plan(config.to_dict())
    if stage:
        settings.choose(stage, checked.by_name, "--stage")
    folder = writable(Path(workdir), "--workdir")
    run = Run.open(checked, folder, console())
    dry_run(run)
    figures: list[Figures] = []
    with tempfile.TemporaryDirectory() as cache:  # an empty cache: compiling is measured in every run
        before = jax.config.values["jax_compilation_cache_dir"]
        _cache(cache)
        try:
            for stage_config in checked.stages:
                if stage in ("", stage_config.name) and stage_config.batch:
                    figures.append(_measure(stage_config, run, seconds, repeats))
                    _show(figures[-1])
                elif stage in ("", stage_config.name):
                    log(f"{stage_config.name}: {stage_config.method_name} has no steps to measure")
        finally:
            _cache(before)
    device = run.data.devices[0]
    about = {"backend": device.platform, "device": device.device_kind, "devices": len(run.data.devices)}
    about |= {"cpu": platform.processor() or platform.machine(), "jax": jax.__version__, "jaxlib": version("jaxlib")}
    about |= {"date": time.strftime("%Y-%m-%d"), "seconds": seconds, "repeats": repeats}
    files.write_json(folder / "bench.json", {**about, "stages": figures})
    log(f"figures: {folder / 'bench.json'}")


def _measure(stage: StageConfig, run: Run, span: float, rounds: int) -> Figures:
    images, devices = images_per_step(stage), run.data.devices
    whole, plain, forward = programs(stage, run)
    placed = next(whole.inputs(0, 1))
    lowered = whole.step.lower(*whole.arguments(whole.state, placed))
    start = time.perf_counter()
    compiled = lowered.compile()
    compiling = time.perf_counter() - start
    cost = benchmark.cost(lowered, compiled, len(devices))
    operations = plain.step.lower(*plain.arguments(plain.state, placed)).cost_analysis()["flops"] * len(devices)

    def once(function: Callable[..., Any], train_steps: TrainSteps, state: Tree) -> Tree:
        return function(*train_steps.arguments(state, placed))[0]

    calls, state = benchmark.calls_within(functools.partial(once, whole.step, whole), whole.state, span)

    def repeated(function: Callable[..., Any], train_steps: TrainSteps) -> Callable[[Tree], Tree]:
        def repeat(state: Tree) -> Tree:
            for _ in range(calls):
                state = once(function, train_steps, state)
            return state

        return repeat

    def feed(state: Tree) -> Tree:
        batches = whole.inputs(0, calls)
        jax.block_until_ready([next(batches) for _ in range(calls)])
        return state

    timed = {
        "feed": feed,
        "forward": repeated(forward, plain),
        "plain": repeated(plain.step, plain),
        "step": repeated(whole.step, whole),
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        files.metrics_log(Path(folder), 0) as log,
        StageProgress(Console(quiet=True), "", first=0, steps=calls) as progress,
    ):

        def on_log(i: int, values: dict[str, float]) -> None:
            log(i, values)
            progress.show(i, values)
            if i == calls:
                raise Logged

        timed["loop"] = functools.partial(_loop, stage, whole, calls, images, on_log)
        durations, _ = benchmark.alternated(timed, state, rounds)
    seconds = {name: [t / calls for t in times] for name, times in durations.items()}
    rates = benchmark.rates(devices, stage.model[1].get("dtype", "float32"))
    limits = {"operations": cost.flops / rates.flops, "bytes": cost.bytes / rates.bytes}
    return {
        "stage": stage.name,
        "images_per_step": images,
        "rounds": seconds,  # of a step, by part
        "seconds_per_step": {name: median(times) for name, times in seconds.items()},
        "images_per_second": {name: images / median(times) for name, times in seconds.items()},
        "share_of_step": {
            "augmentation": 1 - benchmark.ratio(seconds["step"], seconds["plain"]),
            "forward": benchmark.ratio(seconds["step"], seconds["forward"]),
            "feed": benchmark.ratio(seconds["step"], seconds["feed"]),
        },
        "loop_of_step": benchmark.ratio(seconds["loop"], seconds["step"]),
        "compile_seconds": compiling,
        "flops_per_image": operations / images,
        "utilisation": operations / median(seconds["step"]) / rates.flops,
        "limits": limits,
        "rates": rates._asdict(),
        "memory": {
            "resident": cost.resident,
            "temporary": cost.temporary,
            "peak": (devices[0].memory_stats() or {}).get("peak_bytes_in_use"),
        },
    }


def programs(stage: StageConfig, run: Run) -> Programs:
    """Builds the programs of a stage, with untrained weights for the stage and its teachers.

    Args:
        stage: the stage; it has a batch.
        run: the run that it belongs to.

    Raises:
        UserError: the stage does not fit the data.
    """
    stages = run.plan.by_name
    earlier = {name: _new(run.spec(stages[name])) for name in stage.teachers if name in stages}
    quiet = run._replace(data=run.data.resized(stage.size), console=Console(quiet=True))
    opened = Stage.open(stage, quiet, earlier)
    source, split = run.data.source, run.data.split
    n, classes = len(source.images), len(source.classes)
    labels = Labels((np.arange(n, dtype=np.int32) % classes)[:, None], None)  # speed does not depend on them
    supervision = Supervision(streams(stage, source, split), labels, source, None)
    plain_config = stage._replace(augment=_none(stage.augment), strong_augment=_none(stage.strong_augment))
    plain_stage = dataclasses.replace(opened, config=plain_config)
    whole, plain = (build_train_steps(variant, supervision, _new(opened.spec)) for variant in (opened, plain_stage))
    forward = step.make_forward(
        plain.loss_fn, steps=opened.steps, devices=run.data.devices, shard_state=run.plan.shard_state
    )
    return Programs(whole, plain, forward)


def _new(spec: ModelSpec) -> Tree:
    module, _ = spec.build()
    return models.init(module, keys.named(jax.random.key(0), "bench"), spec.input_shape)


def _none(augment: Augment) -> Augment:
    """Returns a function without augmentation whose results have the shapes of those of `augment`."""

    def apply(keys: jax.Array, batch: Batch, saliency: Saliency | None = None) -> Batch:
        augmented = jax.eval_shape(lambda keys, batch: augment(keys, batch, saliency), keys, batch)
        return {
            name: batch[name].astype(like.dtype)
            if name in batch and batch[name].shape == like.shape
            else jnp.zeros(like.shape, like.dtype)
            for name, like in augmented.items()
        }

    return apply


def _loop(
    stage: StageConfig, train_steps: TrainSteps, calls: int, images: int, on_log: Callable[..., None], state: Tree
) -> Tree:
    """Runs the loop of a training stage, without checkpoints and without the check of the weights before each."""
    latest, batches = state, train_steps.inputs(0, calls)

    def run_step(state: Tree, _: int) -> tuple[Tree, Metrics]:
        nonlocal latest
        latest, metrics = train_steps.run(state, next(batches))
        return latest, metrics

    with contextlib.suppress(Logged):
        loop.run(
            run_step,
            state,
            first=0,
            steps=calls,
            log_every=stage.log_every,
            save_every=calls + 1,
            images_per_step=images,
            log=on_log,
            save=lambda *_: None,
            stop=lambda: False,
            where=f"stage {stage.name!r}",
        )
    return latest


def _show(figures: Figures) -> None:
    seconds, share = figures["seconds_per_step"], figures["share_of_step"]
    memory, limits = figures["memory"], figures["limits"]
    rest = 1 - share["augmentation"] - share["forward"]
    rows = [
        ("forward pass", seconds["step"] * share["forward"], share["forward"]),
        ("backward pass, optimizer, average", seconds["step"] * rest, rest),
        ("augmentation", seconds["step"] * share["augmentation"], share["augmentation"]),
        ("compiled step", seconds["step"], 1.0),
        ("loop: step, feed, log", seconds["loop"], 1 / figures["loop_of_step"]),
        ("feed alone, beside the step", seconds["feed"], share["feed"]),
    ]
    images = figures["images_per_step"]
    cells = [  # the difference of two times can be below their noise
        (name, f"{1000 * duration:.3f}", tables.digits(images / duration), f"{part:.3f}")
        if duration > 0
        else (name, *"–––")
        for name, duration, part in rows
    ]
    log(f"{figures['stage']}: {counted(images, 'image')} per step")
    console().print(layout.rich_table(["part", "ms per step", "images/s", "of the step"], cells))
    rates, mib = figures["rates"], 2**20
    peak = f", {memory['peak'] / mib:,.1f} MiB at the peak" if memory["peak"] else ""
    log(
        f"compiling: {figures['compile_seconds']:.1f} s; memory of a device: {memory['resident'] / mib:,.1f} MiB for "
        f"arguments and results of the step, {memory['temporary'] / mib:,.1f} MiB temporary{peak}"
    )
    log(
        f"per image: {figures['flops_per_image'] / 1e9:.4f} GFLOP without augmentation, {figures['utilisation']:.1%} "
        f"of {rates['flops'] / 1e9:,.0f} GFLOP/s (matrix product); limits of the step: operations "
        f"{1000 * limits['operations']:.3f} ms at that rate, bytes {1000 * limits['bytes']:.3f} ms at "
        f"{rates['bytes'] / 1e9:.1f} GB/s (copy) without cache hits"
    )


def _cache(folder: str | None) -> None:
    """Sets the folder of the compilation cache."""
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()
