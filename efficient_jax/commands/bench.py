"""bench: how fast a config trains on these devices, where the time goes, and what bounds it."""

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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict
from rich.console import Console

from efficient_jax import files, keys, models, settings
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dataset import streams
from efficient_jax.experiment.dry_run import dry_run
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.run import Run, at_size, model_spec, prepare
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.experiment.targets import Supervision
from efficient_jax.experiment.train import Updates, build_updates, images_per_update
from efficient_jax.experiment.workdir import writable
from efficient_jax.models.spec import ModelSpec
from efficient_jax.report import tables
from efficient_jax.training import benchmark, loop, step
from efficient_jax.training.labels import Labels
from efficient_jax.training.progress import StageProgress
from efficient_jax.types import Augment, Batch, Saliency, Tree


class Logged(Exception):
    """The last update of a measured loop is logged."""


class Programs(NamedTuple):
    """Of one stage. Their states are of one shape: one hands on to the next."""

    whole: Updates
    plain: Updates  # on images that are not augmented
    forward: Any


def bench(
    config: ConfigDict = "configs/quickstart.py",
    workdir: str = "runs/bench",
    stage: str = "",
    seconds: float = 2.0,
    repeats: int = 7,
) -> None:
    """Measures where the time of a training step goes: input, forward and backward pass, augmentation, loop.

    The parts alternate, so that what is compared was measured in the same rounds; shares are medians over these. The
    limits of the compiled step follow from its operations and bytes, and from what a matrix product and a copy reach on
    this device. Writes WORKDIR/bench.json.

    Args:
        config: FILE or FILE:tiny; its weights are not trained.
        workdir: folder for the figures.
        stage: the stage to measure; empty: all.
        seconds: about how long each part runs in a round, above 0.
        repeats: number of rounds, 1 or more.
    """
    console = Console(markup=False, highlight=False)
    if not 0.0 < seconds < float("inf") or repeats < 1:
        raise UserError(f"--seconds={seconds} --repeats={repeats}: want seconds above 0 and 1 or more repeats")
    checked = plan(config.to_dict())
    if stage:
        settings.choose(stage, {each.name: each for each in checked.stages}, "--stage")
    folder = writable(Path(workdir), "--workdir")
    run = prepare(checked, folder, console)
    dry_run(run)
    found = []
    with tempfile.TemporaryDirectory() as cache:  # or compiling would be measured once only
        before = jax.config.values["jax_compilation_cache_dir"]
        _cache(cache)
        try:
            for each in run.stages:
                if stage in ("", each.name) and each.batch:
                    found.append(_measure(each, run, seconds, repeats))
                    _show(found[-1], console)
                elif stage in ("", each.name):
                    console.print(f"{each.name}: {each.method_name} has no updates to measure")
        finally:
            _cache(before)
    device = run.devices[0]
    about = {"backend": device.platform, "device": device.device_kind, "devices": len(run.devices)}
    about |= {"cpu": platform.processor() or platform.machine(), "jax": jax.__version__, "jaxlib": version("jaxlib")}
    about |= {"date": time.strftime("%Y-%m-%d"), "seconds": seconds, "repeats": repeats}
    files.write_json(folder / "bench.json", {**about, "stages": found})
    console.print(f"figures: {folder / 'bench.json'}", soft_wrap=True)


def _measure(stage: StageConfig, run: Run, span: float, rounds: int) -> dict[str, Any]:
    images = images_per_update(stage)
    whole, plain, forward = programs(stage, run)
    placed = next(whole.given(0, 1))
    lowered = whole.step.lower(*whole.arguments(whole.state, placed))
    start = time.perf_counter()
    compiled = lowered.compile()
    compiling = time.perf_counter() - start
    cost = benchmark.cost(lowered, compiled, len(run.devices))
    operations = plain.step.lower(*plain.arguments(plain.state, placed)).cost_analysis()["flops"] * len(run.devices)

    def once(function: Callable, of: Updates, state: Tree) -> Tree:
        return function(*of.arguments(state, placed))[0]

    calls, state = benchmark.calls_within(functools.partial(once, whole.step, whole), whole.state, span)

    def repeated(function: Callable, of: Updates) -> Callable[[Tree], Tree]:
        def repeat(state: Tree) -> Tree:
            for _ in range(calls):
                state = once(function, of, state)
            return state

        return repeat

    def feed(state: Tree) -> Tree:
        given = whole.given(0, calls)
        jax.block_until_ready([next(given) for _ in range(calls)])
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
        StageProgress(Console(quiet=True), "", first=0, updates=calls) as progress,
    ):

        def on_log(i: int, values: dict[str, float]) -> None:
            log(i, values)
            progress.show(i, values)
            if i == calls:
                raise Logged

        timed["loop"] = functools.partial(_loop, stage, whole, calls, images, on_log)
        taken, _ = benchmark.alternated(timed, state, rounds)
    seconds = {name: [t / calls for t in times] for name, times in taken.items()}
    rates = benchmark.rates(run.devices, stage.model[1].get("dtype", "float32"))
    limits = {"operations": cost.flops / rates.flops, "bytes": cost.bytes / rates.bytes}
    return {
        "stage": stage.name,
        "images_per_update": images,
        "rounds": seconds,  # of an update, by part
        "seconds_per_update": {name: median(times) for name, times in seconds.items()},
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
            "peak": (run.devices[0].memory_stats() or {}).get("peak_bytes_in_use"),
        },
    }


def programs(stage: StageConfig, run: Run) -> Programs:
    """What is measured of a stage, with weights that are not trained; so are those of its teachers."""
    stages = {other.name: other for other in run.stages}
    earlier = {name: _new(model_spec(stages[name], run)) for name in stage.teachers if name in stages}
    quiet = at_size(run, stage.size)._replace(console=Console(quiet=True))
    opened = Stage.open(stage, quiet, earlier)
    n, classes = len(run.source.images), len(run.source.classes)
    labels = Labels((np.arange(n, dtype=np.int32) % classes)[:, None], None)  # speed does not ask what they are
    supervision = Supervision(streams(stage, run.source, run.split), labels, None)
    plain_config = stage._replace(augment=_none(stage.augment), strong_augment=_none(stage.strong_augment))
    both = opened, dataclasses.replace(opened, config=plain_config)
    whole, plain = (build_updates(each, supervision, _new(opened.spec)) for each in both)
    return Programs(whole, plain, step.make_forward(plain.loss_fn, updates=opened.updates, devices=run.devices))


def _new(spec: ModelSpec) -> Tree:
    module, _ = spec.build()
    return models.init(module, keys.named(jax.random.key(0), "bench"), spec.input_shape)


def _none(augment: Augment) -> Augment:
    """No augmentation, with results of the same shapes."""

    def apply(keys: jax.Array, batch: Batch, saliency: Saliency | None = None) -> Batch:
        made = jax.eval_shape(lambda keys, batch: augment(keys, batch, saliency), keys, batch)
        return {
            name: batch[name].astype(like.dtype)
            if name in batch and batch[name].shape == like.shape
            else jnp.zeros(like.shape, like.dtype)
            for name, like in made.items()
        }

    return apply


def _loop(stage: StageConfig, updates: Updates, calls: int, images: int, on_log: Callable, state: Tree) -> Tree:
    """As a stage trains, but for its checkpoints and for the look at the weights that comes before each."""
    latest, given = state, updates.given(0, calls)

    def update(state: Tree, _: int) -> tuple[Tree, dict]:
        nonlocal latest
        latest, metrics = updates.update(state, next(given))
        return latest, metrics

    with contextlib.suppress(Logged):
        loop.run(
            update,
            state,
            first=0,
            updates=calls,
            log_every=stage.log_every,
            save_every=calls + 1,
            images_per_update=images,
            log=on_log,
            save=lambda *_: None,
            stop=lambda: False,
            where=f"stage {stage.name!r}",
        )
    return latest


def _show(found: dict[str, Any], console: Console) -> None:
    seconds, share, memory, limits = (
        found[name] for name in ("seconds_per_update", "share_of_step", "memory", "limits")
    )
    rest = 1 - share["augmentation"] - share["forward"]
    rows = [
        ("forward pass", seconds["step"] * share["forward"], share["forward"]),
        ("backward pass, optimizer, average", seconds["step"] * rest, rest),
        ("augmentation", seconds["step"] * share["augmentation"], share["augmentation"]),
        ("compiled step", seconds["step"], 1.0),
        ("loop: step, feed, log", seconds["loop"], 1 / found["loop_of_step"]),
        ("feed alone, beside the step", seconds["feed"], share["feed"]),
    ]
    images = found["images_per_update"]
    shown = [  # what is a difference of two times can be lost in their noise
        (name, f"{1000 * taken:.3f}", tables.digits(images / taken), f"{of:.3f}") if taken > 0 else (name, *"–––")
        for name, taken, of in rows
    ]
    console.print(f"{found['stage']}: {counted(images, 'image')} in an update")
    console.print(tables.rich_table(["part", "ms an update", "images/s", "of the step"], shown))
    rates, mib = found["rates"], 2**20
    peak = f", {memory['peak'] / mib:,.1f} at the peak" if memory["peak"] else ""
    console.print(
        f"compiling: {found['compile_seconds']:.1f} s; memory of a device: {memory['resident'] / mib:,.1f} MiB for "
        f"what the step is given, {memory['temporary'] / mib:,.1f} beside{peak}",
        soft_wrap=True,
    )
    console.print(
        f"an image: {found['flops_per_image'] / 1e9:.4f} GFLOP without augmentation, {found['utilisation']:.1%} of "
        f"{rates['flops'] / 1e9:,.0f} GFLOP/s (product of matrices); the step's operations take "
        f"{1000 * limits['operations']:.3f} ms at that rate, its bytes {1000 * limits['bytes']:.3f} ms at "
        f"{rates['bytes'] / 1e9:.1f} GB/s (copy), if none stays in a cache",
        soft_wrap=True,
    )


def _cache(folder: str | None) -> None:
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()
