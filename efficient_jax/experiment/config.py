"""Checks a config: binds every block to the function that reads it, before anything compiles."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from efficient_jax import augment as augmentations
from efficient_jax.augment import operations
from efficient_jax.data import generated as drawing
from efficient_jax.data import label_noise as flipping
from efficient_jax.data.sources import ENCODED, SOURCES, coco_files
from efficient_jax.data.stream import FEEDS
from efficient_jax.errors import UserError, nearest
from efficient_jax.experiment.checks import at_least
from efficient_jax.experiment.model_block import inherited
from efficient_jax.experiment.stage_config import StageConfig, augment_blocks, stage
from efficient_jax.models import pretrained
from efficient_jax.settings import Settings, bind, bind_named, choose
from efficient_jax.training import checkpoint
from efficient_jax.training.tracking import TRACKERS

NOTHING: Settings = {}


class Plan(NamedTuple):
    """A checked config."""

    seed: int
    devices: int  # number of devices; 0: as many as share every batch evenly
    shard_state: bool  # whether the state of training is spread over the devices
    source: tuple[str, Settings]  # name and settings
    split: Settings  # sizes, folds and how to draw: arguments of `data.split.split`
    feed: str  # "memory", "stream", or "": in memory if the images fit
    generated: Settings  # settings of generated images, see `data.generated`; {} for none
    label_noise: Settings  # arguments of `data.label_noise.flipped`; {} for none
    duplicates: str  # what happens to images that equal a test image: "refuse" or "drop"
    label_changing: tuple[str, ...]  # operations after which a label may be wrong
    track: tuple[str, ...]  # where metrics are written beside metrics.jsonl, see `training.tracking`
    stages: tuple[StageConfig, ...]
    warnings: tuple[str, ...]  # lines to show before training

    @property
    def by_name(self) -> dict[str, StageConfig]:
        """The stages by their names."""
        return {stage.name: stage for stage in self.stages}

    @property
    def framing(self) -> Settings:
        """How the source crops and resizes the files of images; {} where it reads arrays."""
        return {key: value for key, value in self.source[1].items() if key in ("fit", "crop", "interpolation")}


def plan(config: Mapping[str, Any]) -> Plan:
    """Checks a config.

    `config.stages` names the stages in the order in which they are trained; `config.<name>` is the block of a stage.
    Blocks that are not named there are checked too.

    Args:
        config: a nested dict.

    Raises: UserError for a key that nothing reads, and for a value that does not fit.
    """
    reserved = ("seed", "devices", "data", "stages")
    blocks = {name: b for name, b in config.items() if name not in reserved and isinstance(b, Mapping)}
    top = experiment(**bind(experiment, {k: v for k, v in config.items() if k not in blocks}, "config"))
    names = top["stages"]
    if not names or len(set(names)) < len(names):
        raise UserError(f"config.stages: want at least one name and each once, got {names}")
    for name in names:
        choose(name, blocks, "config.stages")
    stages = {name: stage(name, **bind(stage, inherited(blocks, name), f"config.{name}")) for name in blocks}
    for position, name in enumerate(names):
        for teacher in stages[name].teachers:
            _check_reference(teacher, names, position, stages[name].where_teachers)
        _check_reference(stages[name].init, names, position, f"config.{name}.init", or_weights=True)
        features = stages[name].suspects.get("features", "")
        _check_reference(features, names, position, f"config.{name}.suspects.features", or_weights=True)
    parts = data(**bind(data, top["data"], "config.data"))
    return Plan(
        seed=top["seed"],
        devices=top["devices"],
        shard_state=top["shard_state"],
        track=top["track"],
        **parts,
        stages=tuple(stages[name] for name in names),
        warnings=tuple(
            f"config.{name}.augment applies {op!r}, named in config.data.label_changing: labels may be wrong after it"
            for name in names
            for op in parts["label_changing"]
            if any(op in operations(b) for b in augment_blocks(blocks[name]).values())
        ),
    )


def experiment(
    *,
    seed: int,
    stages: tuple[Any, ...],
    data: Settings,
    devices: int = 0,
    shard_state: bool = False,
    track: tuple[str, ...] = (),
) -> Settings:
    """Returns the checked top level of a config; the blocks of stages are beside these keys.

    Args:
        seed: seed of all random draws, 0 to 2^32 - 1.
        stages: names of the stages, in the order in which they are trained.
        data: where the images come from; see `data`.
        devices: number of devices; 0 takes as many as share every batch evenly.
        shard_state: spreads parameters, optimizer state and moving average over the devices, for models of which not
            each of them can hold a copy.
        track: where metrics are written beside metrics.jsonl: "tensorboard", "wandb", "mlflow".

    Raises: UserError for a value out of range.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"config.seed: {seed} is not in 0 .. 2^32 - 1")
    if devices < 0:
        raise UserError(f"config.devices: {devices} is negative; 0 takes what fits")
    for name in track:
        choose(name, TRACKERS, "config.track")
    placed = {"devices": devices, "shard_state": shard_state}
    return {"seed": seed, "stages": stages, "data": data, "track": track, **placed}


def data(
    *,
    source: Settings,
    labels_per_class: int = 0,
    test: int = 0,
    validation: int = 0,
    folds: int = 0,
    fold: int = 0,
    stratify: bool = True,
    unlabelled: int = 0,
    feed: str = "",
    generated: Settings = NOTHING,
    label_noise: Settings = NOTHING,
    duplicates: str = "refuse",
    label_changing: tuple[str, ...] = (),
) -> Settings:
    """Returns the checked block `config.data` as fields of `Plan`.

    Args:
        source: where the images come from: `name` of a source and its settings; paths may have environment variables.
        labels_per_class: labels that are used, of each class at most; 0: all. The others count as unlabelled.
        test: number of test images; 0 for a source that has test images of its own.
        validation: number of validation images, taken from the labelled ones; 0: none.
        folds: parts into which the labelled images are cut, one of which is for validation; 0: none.
        fold: index of the fold that is for validation, from 0.
        stratify: gives every part the same share of each class; False draws at random.
        unlabelled: number of images without labels that are kept; 0: all.
        feed: "memory" decodes images once, "stream" whenever one is used, "": the latter where they do not fit.
        generated: images that a Gaussian of each class or another generator adds; see `data.generated`.
        label_noise: replaces labels of training images by wrong ones, for experiments; see `data.label_noise`.
        duplicates: "refuse" or "drop": what to do where an image of another part equals a test image.
        label_changing: operations after which a label may be wrong, such as a flip of digits; `train` warns.

    Raises: UserError for values that do not fit together.
    """
    split = {"labels_per_class": labels_per_class, "test": test, "validation": validation, "folds": folds, "fold": fold}
    split["unlabelled"] = unlabelled
    for name, value in split.items():
        at_least(value, 0, f"config.data.{name}")
    if folds == 1:
        raise UserError("config.data.folds: 1 leaves nothing to learn from; want 2 or more, or 0 for none")
    if fold >= max(folds, 1):
        raise UserError(f"config.data.fold: {fold} is not one of {folds} folds, which are counted from 0")
    if folds and validation:
        raise UserError(
            f"config.data.validation: {validation} asked, and config.data.folds = {folds} takes a fold; give one"
        )
    for op in label_changing:
        choose(op, augmentations.OPS | augmentations.MIXES, "config.data.label_changing")
    choose(feed, dict.fromkeys(FEEDS), "config.data.feed")
    choose(duplicates, {"refuse": (), "drop": ()}, "config.data.duplicates")
    named, settings = bind_named(SOURCES, source, "config.data.source")
    if settings.get("fit") == "":
        settings["fit"] = coco_files.fit_of("", settings["task"])  # which the networks keep
    settings = {key: _expanded(value, f"config.data.source.{key}") for key, value in settings.items()}
    if feed == "stream" and named not in ENCODED:
        raise UserError(f"config.data.feed: the source {named!r} is in memory; can be streamed: {', '.join(ENCODED)}")
    if generated:
        generated = bind(drawing.settings, generated, "config.data.generated")
        drawing.settings(**generated)
    label_noise = flipping.settings(**bind(flipping.settings, label_noise, "config.data.label_noise"))
    return {
        "source": (named, settings),
        "split": split | {"stratify": stratify},
        "feed": feed,
        "generated": dict(generated),
        "label_noise": label_noise if label_noise["share"] else {},
        "duplicates": duplicates,
        "label_changing": label_changing,
    }


def _expanded(value: Any, where: str) -> Any:
    """Replaces environment variables in a path, such as $EFFICIENT_JAX_DATA; returns other values as they are."""
    if not isinstance(value, str):
        return value
    path = os.path.expandvars(value)
    if missing := re.search(r"\$\{?(\w+)", path):
        raise UserError(f"{where}: {value!r} needs the environment variable {missing[1]}, which is not set")
    return path


def _check_reference(
    reference: str, names: tuple[str, ...], position: int, where: str, or_weights: bool = False
) -> None:
    """Checks that a reference is an earlier stage, a folder with checkpoints, or (`or_weights`) published weights."""
    if not reference or reference in names[:position] or (Path(reference) / checkpoint.FOLDER).is_dir():
        return
    if or_weights and pretrained.is_weights(reference):
        return
    if reference in names:
        raise UserError(
            f"{where}: stage {reference!r} comes later; it must come before {names[position]!r} in config.stages"
        )
    packaged = list(pretrained.ZOO) if or_weights else []
    stages = [str(path.parent) for path in Path(reference).glob(f"*/{checkpoint.FOLDER}")]  # `reference` is a run
    raise UserError(
        f"{where}: {reference!r} is neither an earlier stage nor the folder of a trained one"
        + (", nor weights that others trained" if or_weights else "")
        + nearest(reference, stages or [*names[:position], *packaged])
    )
