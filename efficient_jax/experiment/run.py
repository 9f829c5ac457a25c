"""A run: what all stages of a checked config share, such as their data and what is computed once for them."""

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from rich.console import Console

from efficient_jax import keys
from efficient_jax.data import cache, dataset, generated, identity, label_noise, statistics
from efficient_jax.data.stream import Streamed
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment import feature_cache, initialise
from efficient_jax.experiment.config import Plan
from efficient_jax.experiment.dataset import Data, load_data
from efficient_jax.experiment.leaks import without_held_out
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.experiment.stage_steps import Resolved, resolved
from efficient_jax.experiment.streams import check_streams
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from efficient_jax.training import checkpoint, parallel
from efficient_jax.training.trained import Trained


@dataclass(frozen=True)
class Shared:
    """What several stages need and is read or computed once: the stages of a run add to it."""

    trained: dict[str, Trained] = field(default_factory=dict)
    """Stages of other runs, which do not change, by the name with which a config gives them."""
    features: dict[tuple[str, bytes], feature_cache.Pools] = field(default_factory=dict)
    """Features of unaugmented images, by the hash of the network and the indices of the images."""


class Run(NamedTuple):
    """What all stages share."""

    plan: Plan
    workdir: Path
    console: Console
    data: Data
    fingerprint: str  # of the dataset, without generated images
    generated_fingerprint: str  # of generated images that are read from a folder; "" for none
    mean: tuple[float, ...]  # of each channel, over the training images
    std: tuple[float, ...]
    true_labels: np.ndarray  # of all images; other than `data.source.labels` with `config.data.label_noise`
    resolved: dict[str, Resolved]  # stage -> settings that depend on the data
    shared: Shared
    profile: range = range(0)  # steps of each stage that are traced, counted from 1

    @classmethod
    def open(cls, plan: Plan, workdir: Path, console: Console) -> "Run":
        """Loads and splits the data of a checked config.

        Args:
            plan: the checked config.
            workdir: folder of the run.
            console: shows the lines of the run.

        Raises: UserError when the devices do not divide a batch, and as `dataset.load_data` and
            `streams.check_streams`.
        """
        sizes = {
            f"config.{s.name}.batch.{stream}{f' / {s.accumulate}' if s.accumulate > 1 else ''}": size // s.accumulate
            for s in plan.stages
            for stream, size in s.batch.items()
        }
        devices = parallel.pick_devices(sizes, plan.devices, max([2, *(stage.joined for stage in plan.stages)]))
        check = functools.partial(check_streams, plan)
        source, split = load_data(plan, workdir.parent / cache.FOLDER, check)
        fingerprint, generated_fingerprint = dataset.fingerprint(source), ""
        true_labels = source.labels
        if plan.label_noise:
            source = _with_label_noise(source, split["labelled"], plan)
        if plan.generated:
            source, split, generated_fingerprint = _with_generated(source, split, plan)
            true_labels = np.concatenate([true_labels, source.labels[len(true_labels) :]])
        rows = check(source, split)
        pool = np.concatenate([split["labelled"], split["unlabelled"]])
        images = source.images  # test images do not count for the mean
        mean, std = images.mean_std(pool) if isinstance(images, Streamed) else statistics.mean_std(images[pool])
        data = Data(source, split, devices)
        settings = {
            stage.name: resolved(stage, len(next(iter(rows[stage.name].values()), split["labelled"])), data.task)
            for stage in plan.stages
        }
        fingerprints = fingerprint, generated_fingerprint
        return cls(plan, workdir, console, data, *fingerprints, mean, std, true_labels, settings, Shared())

    def trained(self, name: str, where: str) -> Trained:
        """Reads the start or a teacher of a stage. A stage of another run, which does not change, is read once.

        Args:
            name: a trained stage of this run, or one of another run as for `Trained.open`.
            where: the key that an error names.

        Raises: UserError if it is not trained.
        """
        inside = self.workdir / name  # workdir / "/other/run" is /other/run
        if name in self.plan.by_name and (inside / checkpoint.FOLDER).is_dir():
            return Trained.open(str(inside), where)
        if name not in self.shared.trained:
            self.shared.trained[name] = Trained.open(name, where)
        return self.shared.trained[name]

    def log(self, stage: str, line: str) -> None:
        """Shows a line of a stage.

        Args:
            stage: its name, which comes first.
            line: the rest.
        """
        self.console.print(f"{stage}: {line}", soft_wrap=True)

    def image_shape(self, stage: StageConfig) -> tuple[int, int, int]:
        """Returns (height, width, channels) of the images of a stage, in pixels.

        Args:
            stage: its config.
        """
        h, w, channels = self.data.source.images.shape[1:]
        return stage.size or h, stage.size or w, channels

    def spec(self, stage: StageConfig) -> ModelSpec:
        """Returns what rebuilds the network of a stage.

        Args:
            stage: one of the stages of the plan.

        Raises: UserError if the normalisation has other channels than the images.
        """
        mean, std = initialise.normalisation(stage, self.plan.by_name, (self.mean, self.std), self.trained)
        shape, source = self.image_shape(stage), self.data.source
        if shape[-1] not in (1, len(mean)):
            raise UserError(
                f"config.{stage.name}: the images have {shape[-1]} channels, the normalisation that belongs to "
                f"{stage.init or 'the stage'} has {len(mean)}; make them {len(mean)}, where the source reads images "
                f"with config.data.source.channels={len(mean)}"
            )
        spec = ModelSpec(
            *stage.model, source.classes, shape, mean, std, self.plan.framing, source.task, decoder=stage.decoder
        )
        waits = stage.init in self.plan.by_name and not (self.workdir / stage.init / "result.json").is_file()
        return spec if waits else replace(spec, head=initialise.head(stage, source.classes, self.trained))

    def key(self, stage: StageConfig) -> jax.Array:
        """Returns the random key of a stage.

        Args:
            stage: its config.
        """
        return keys.named(jax.random.key(self.plan.seed), stage.name)


def _with_label_noise(source: dataset.Source, rows: np.ndarray, plan: Plan) -> dataset.Source:
    """Replaces labels of the labelled images by wrong ones. Test and validation images keep theirs."""
    if not TASKS[source.task].one_class or source.soft_labels is not None or len(source.classes) < 2:
        raise UserError("config.data.label_noise: is for images of one class each, of two or more classes")
    labels = label_noise.flipped(source.labels, rows, len(source.classes), **plan.label_noise)
    wrong = int((labels != source.labels).sum())
    note = f"config.data.label_noise: {wrong:,} of {counted(len(rows), 'labelled image')} have a wrong label"
    return source._replace(labels=labels, notes=(*source.notes, note))


def _with_generated(
    source: dataset.Source, split: dict[str, np.ndarray], plan: Plan
) -> tuple[dataset.Source, dict[str, np.ndarray], str]:
    """Adds generated images as the part "generated": drawn from the labelled images, or read from a folder.

    Returns (images, split, fingerprint of the generated images if they were read, else "").
    """
    where, images = "config.data.generated", source.images
    if isinstance(images, Streamed):
        raise UserError(f'{where}: wants images in memory; set config.data.feed="memory"')
    if not TASKS[source.task].one_class or source.soft_labels is not None or source.objects:
        raise UserError(f"{where}: is for images of one class each, without soft labels and objects")
    settings = {name: value for name, value in plan.generated.items() if name != "weight"}
    if path := settings.pop("path", ""):
        read = generated.read(path, source.classes, images.shape[1:], plan.framing)
        drawn, labels, names, notes = without_held_out(plan, source, split, read)
        fingerprint = dataset.images_fingerprint(drawn, labels)
    else:
        ids = split["labelled"]
        fingerprint = ""
        drawn, labels = generated.generate(images[ids], source.labels[ids], source.classes, seed=plan.seed, **settings)
        names = tuple(f"generated {i}" for i in range(len(drawn)))
        notes = (f"{counted(len(drawn), 'image was', 'images were')} drawn from the {len(ids):,} labelled ones",)
    before = source.names or tuple(source.name(i) for i in range(len(images)))
    extended = source._replace(
        images=np.concatenate([images, drawn]),
        contents=np.concatenate([source.contents, identity.digests(drawn)]),
        labels=np.concatenate([source.labels, labels]),
        names=(*before, *names),
        notes=(*source.notes, *notes),
    )
    return extended, split | {"generated": np.arange(len(images), len(extended.images), dtype=np.int32)}, fingerprint
