"""What a stage begins with: new variables, those of another stage, or weights that others trained; and the
normalisation of images that belongs to them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.config import is_weights
from efficient_jax.experiment.stage_config import Stage
from efficient_jax.models import pretrained
from efficient_jax.training import checkpoint
from efficient_jax.types import Tree

Load = Callable[[Path, str], tuple[Tree, dict[str, Any]]]
"""As `checkpoint.load`."""

IN_TRAINING = ("dropout", "stochastic_depth", "norm_momentum", "dtype")
"""Settings of models with which the same weights are the same function."""


def folder(reference: str, workdir: Path) -> Path:
    """What `reference` means: a stage of this run, or a folder of another."""
    inside = workdir / reference
    return inside if (inside / checkpoint.FOLDER).is_dir() else Path(reference)


def normalisation(
    stage: Stage,
    stages: Mapping[str, Stage],
    workdir: Path,
    data: tuple[tuple[float, ...], tuple[float, ...]],
    load: Load = checkpoint.load,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) per channel of pixels in 0..1: of what the stage begins with, else that of the `data`.

    `config.<stage>.mean` and `.std` come before both. `load` restores checkpoints.
    """
    if stage.mean:
        return stage.mean, stage.std
    if not stage.init:
        return data
    if stage.init in stages:
        return normalisation(stages[stage.init], stages, workdir, data, load)
    if is_weights(stage.init):
        if stage.model[0] not in pretrained.FAMILIES:
            raise UserError(
                f"config.{stage.name}.init: {stage.init!r} are weights of others, which there are for "
                f"{', '.join(pretrained.FAMILIES)}; the model is {stage.model[0]!r}"
            )
        try:
            found = pretrained.preprocessing_of(stage.init, stage.model[0])
        except UserError as error:
            raise UserError(f"config.{stage.name}.init: {error}") from None
        return found.mean, found.std
    _, description = load(folder(stage.init, workdir), f"config.{stage.name}.init")
    return tuple(description["mean"]), tuple(description["std"])


def variables(
    stage: Stage,
    fresh: Tree,
    classes: tuple[str, ...],
    image_shape: tuple[int, int, int],
    workdir: Path,
    load: Load = checkpoint.load,
) -> tuple[Tree, list[str]]:
    """(`fresh`, arrays or their shapes, with what `stage.init` has in place of it, what to say of that).

    Where the classes are others, the head stays as in `fresh`. `load` restores checkpoints. Raises: UserError for
    weights of another architecture.
    """
    where = f"config.{stage.name}.init"
    if is_weights(stage.init):
        return _of_others(stage, fresh, image_shape, where)
    restored, description = load(folder(stage.init, workdir), where)
    found = restored | {"params": dict(restored["params"])}  # others may read what was restored
    said = []
    differs = description["model"] != stage.model[0]
    if not differs and "pos_embed" in found["params"] and description["image_shape"][:2] != list(image_shape[:2]):
        positions = found["params"]["pos_embed"]
        positions, how = pretrained.resampled(positions, fresh["params"], image_shape[:2])
        found["params"]["pos_embed"] = np.asarray(positions)
        said += [f"pos_embed: {how}"] if how else []
    if description["classes"] != list(classes):
        others = counted(len(description["classes"]), "other class", "other classes")
        said += [f"the head is new: {stage.init} knows {others}"]
        found["params"]["head"] = fresh["params"]["head"]
    check((description["model"], description["settings"]), found, stage, fresh)
    return found, said


def _of_others(stage: Stage, fresh: Tree, image_shape: tuple[int, int, int], where: str) -> tuple[Tree, list[str]]:
    settings = stage.model[1]
    try:
        arrays = pretrained.read(stage.init)
        implied = pretrained.implied(stage.init, arrays)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    found, report = pretrained.load(arrays, fresh, image=image_shape[:2], where=where)
    for key, value in implied.items():
        if settings.get(key, value) != value:
            raise UserError(
                f"{where}: {stage.init!r} was trained with config.{stage.name}.model.{key} = {value}; say so"
            )
    said = str(report).splitlines()
    if "tensorflow" in settings.keys() - implied.keys():
        said.append(f"padding and eps are not in the file: taken as model.tensorflow = {settings['tensorflow']}")
    return found, said


def check(model: tuple[str, Mapping[str, Any]], found: Tree, stage: Stage, fresh: Tree) -> None:
    """Raises: UserError unless the variables `found`, of `model`, mean in the stage's model what they meant there."""
    theirs, ours = ({"name": name} | dict(settings) for name, settings in (model, stage.model))
    keys = ["name"] if theirs["name"] != ours["name"] else [key for key in ours if key not in IN_TRAINING]
    differences = "; ".join(
        f"model.{key} is {theirs[key]!r} there, {ours[key]!r} here" for key in keys if theirs[key] != ours[key]
    )
    if differences := differences or checkpoint.compare(found, fresh):
        raise UserError(
            f"config.{stage.name}.init: {stage.init!r} is a checkpoint of another architecture: {differences}"
        )
