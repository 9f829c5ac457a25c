"""A run: what all stages of a checked config share, such as devices, data and split."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from rich.console import Console

from efficient_jax import keys
from efficient_jax.data import cache, dataset, decode, generated, identity, objects, statistics
from efficient_jax.data.stream import Streamed
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment import initialise
from efficient_jax.experiment.config import Plan
from efficient_jax.experiment.dataset import check_streams, load_data, load_run
from efficient_jax.experiment.leaks import without_held_out
from efficient_jax.experiment.stage_config import Resolved, StageConfig, resolved
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from efficient_jax.training import batches, checkpoint, parallel
from efficient_jax.training.trained import Trained

T = TypeVar("T")


class Run(NamedTuple):
    """What all stages share."""

    workdir: Path
    seed: int
    devices: Sequence[jax.Device]
    console: Console
    source: dataset.Source
    split: dict[str, np.ndarray]
    weight: float  # of the images in split["generated"], if there are any
    images: batches.Images  # those of the source, replicated where they fit
    mean: tuple[float, ...]  # of each channel, over the training images
    std: tuple[float, ...]
    framing: dict[str, Any]  # how pictures became images
    stages: tuple[StageConfig, ...]
    resolved: dict[str, Resolved]  # stage -> settings that depend on the data
    kept: dict[Any, Any]  # results of `once`

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Returns `make()`, which is called once for all stages.

        Args:
            key: hashable, names the result.
            make: called if there is no result of this key yet.
        """
        if key not in self.kept:
            self.kept[key] = make()
        result: T = self.kept[key]
        return result

    def trained(self, name: str, where: str) -> Trained:
        """Reads the start or a teacher of a stage. A stage of another run, which does not change, is read once.

        Args:
            name: a trained stage of this run, or one of another run as for `Trained.open`.
            where: the key that an error names.

        Raises: UserError if it is not trained.
        """
        inside = self.workdir / name
        own = any(stage.name == name for stage in self.stages)  # workdir / "/other/run" is /other/run
        if own and (inside / checkpoint.FOLDER).is_dir():
            return Trained.open(str(inside), where)
        return self.once(("checkpoint", name), lambda: Trained.open(name, where))


def at_size(run: Run, size: int) -> Run:
    """Returns a run with its images resized to squares.

    Args:
        run: the run.
        size: height and width in pixels; 0: images stay as they are.
    """
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
        workdir: folder of the run.
        where: the flag that an error names.
        console: shows in one line how its images have changed since.

    Raises: UserError as `dataset.load_run`.
    """
    settings, source, split = load_run(workdir, where, functools.partial(console.print, soft_wrap=True))
    devices = parallel.pick_devices({}, 0)
    placed = batches.place(source.images, devices)
    return Run(workdir, settings["seed"], devices, console, source, split, 0.0, placed, (), (), {}, (), {}, {})


def prepare(plan: Plan, workdir: Path, console: Console) -> Run:
    """Loads and splits the data of a checked config, and places it on devices.

    Args:
        plan: the checked config.
        workdir: folder of the run.
        console: shows the lines of the run.

    Raises: UserError when the devices do not divide a batch, and as `dataset.load_data` and `dataset.check_streams`.
    """
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
    images = source.images  # test images do not count for the mean
    mean, std = images.mean_std(pool) if isinstance(images, Streamed) else statistics.mean_std(images[pool])
    framing = framing_of(plan)
    task = TASKS[source.task]
    stages = {
        stage.name: resolved(stage, len(next(iter(rows[stage.name].values()), split["labelled"])), task)
        for stage in plan.stages
    }
    placed = batches.place(images, devices)
    weight = plan.generated.get("weight", 0.0)
    common = (workdir, plan.seed, devices, console, source, split, weight, placed, mean, std, framing)
    return Run(*common, plan.stages, stages, {})


def _with_generated(
    source: dataset.Source, split: dict[str, np.ndarray], plan: Plan
) -> tuple[dataset.Source, dict[str, np.ndarray]]:
    """Adds generated images as the part "generated": drawn from the labelled images, or read from a folder."""
    where, images = "config.data.generated", source.images
    if isinstance(images, Streamed):
        raise UserError(f'{where}: wants images in memory; set config.data.feed="memory"')
    if not TASKS[source.task].one_class or source.soft_labels is not None or source.objects:
        raise UserError(f"{where}: is for images of one class each, without soft labels and objects")
    settings = {name: value for name, value in plan.generated.items() if name != "weight"}
    if path := settings.pop("path", ""):
        read = generated.read(path, source.classes, images.shape[1:], framing_of(plan))
        made, labels, names, notes = without_held_out(plan, source, split, read)
    else:
        ids = split["labelled"]
        made, labels = generated.generate(images[ids], source.labels[ids], source.classes, seed=plan.seed, **settings)
        names = tuple(f"generated {i}" for i in range(len(made)))
        notes = (f"{counted(len(made), 'image was', 'images were')} drawn from the {len(ids):,} labelled ones",)
    hashes = np.frombuffer(b"".join(identity.digests(made)), np.uint8).reshape(len(made), -1)
    before = source.names or tuple(source.name(i) for i in range(len(images)))
    more = source._replace(
        images=np.concatenate([images, made]),
        contents=np.concatenate([source.contents, hashes]),
        labels=np.concatenate([source.labels, labels]),
        names=(*before, *names),
        notes=(*source.notes, *notes),
    )
    return more, split | {"generated": np.arange(len(images), len(more.images), dtype=np.int32)}


def framing_of(plan: Plan) -> dict[str, Any]:
    """Returns how the source crops and resizes the files of images; {} where it reads arrays.

    Args:
        plan: the checked config.
    """
    return {key: value for key, value in plan.source[1].items() if key in ("fit", "crop", "interpolation")}


def image_shape(stage: StageConfig, run: Run) -> tuple[int, int, int]:
    """Returns (height, width, channels) of the images of a stage, in pixels.

    Args:
        stage: its config.
        run: its run.
    """
    h, w, channels = run.source.images.shape[1:]
    return stage.size or h, stage.size or w, channels


def model_spec(stage: StageConfig, run: Run) -> ModelSpec:
    """Returns what rebuilds the network of a stage.

    Args:
        stage: one of `run.stages`.
        run: the run, with images of any size.

    Raises: UserError if the normalisation has other channels than the images.
    """
    stages = {other.name: other for other in run.stages}
    mean, std = initialise.normalisation(stage, stages, (run.mean, run.std), run.trained)
    channels = run.source.images.shape[-1]
    if channels not in (1, len(mean)):
        raise UserError(
            f"config.{stage.name}: the images have {channels} channels, the normalisation that belongs to "
            f"{stage.init or 'the stage'} has {len(mean)}; make them {len(mean)}, where the source reads pictures with "
            f"config.data.source.channels={len(mean)}"
        )
    source = run.source
    name, settings = stage.model
    return ModelSpec(name, settings, source.classes, image_shape(stage, run), mean, std, run.framing, source.task)


def key_of(stage: StageConfig, run: Run) -> jax.Array:
    """Returns the random key of a stage.

    Args:
        stage: its config.
        run: its run.
    """
    return keys.named(jax.random.key(run.seed), stage.name)
