"""The start of a stage: new variables, those of another stage, or published weights.

The normalisation of images that belongs to them comes with them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.models import MODELS, SUPPLIED, heads, pretrained
from efficient_jax.settings import parameters
from efficient_jax.training import checkpoint
from efficient_jax.training.trained import Trained
from efficient_jax.types import Tree

Open = Callable[[str, str], Trained]
"""Like `Trained.open`: a name and the key that an error names."""

LAST = ("decoder", "head")
IN_TRAINING = ("dropout", "stochastic_depth", "norm_momentum", "layer_scale", "dtype", "remat")
"""Settings of models that do not change the function of the same weights in evaluation."""


def normalisation(
    stage: StageConfig,
    stages: Mapping[str, StageConfig],
    data: tuple[tuple[float, ...], tuple[float, ...]],
    open_trained: Open = Trained.open,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the mean and the standard deviation with which the images of a stage are normalised.

    `config.<stage>.mean` and `.std` come first, then those of the start of the stage, then those of the data.

    Args:
        stage: the stage.
        stages: the stages of the run by name; one of them that is the start need not be trained yet.
        data: mean and standard deviation of the run's images.
        open_trained: reads a stage of the run or of another.

    Returns: (mean, standard deviation), each with one value per channel, of pixels in 0..1.

    Raises: UserError for weights of another family of models, or that cannot be read.
    """
    if stage.mean:
        return stage.mean, stage.std
    if not stage.init:
        return data
    if stage.init in stages:
        return normalisation(stages[stage.init], stages, data, open_trained)
    if pretrained.is_weights(stage.init):
        if stage.model[0] not in pretrained.FAMILIES:
            raise UserError(
                f"config.{stage.name}.init: {stage.init!r} are weights of others, which there are for "
                f"{', '.join(pretrained.FAMILIES)}; the model is {stage.model[0]!r}"
            )
        try:
            published = pretrained.preprocessing_of(stage.init, stage.model[0])
        except UserError as error:
            raise UserError(f"config.{stage.name}.init: {error}") from None
        return published.mean, published.std
    spec = open_trained(stage.init, f"config.{stage.name}.init").spec
    return spec.mean, spec.std


def head(stage: StageConfig, classes: tuple[str, ...], open_trained: Open = Trained.open) -> Mapping[str, str]:
    """Returns the head of a stage before its first step: that of its start where it can go on with it.

    Args:
        stage: the stage; its start is trained.
        classes: names of the classes of the data.
        open_trained: reads a stage of the run or of another.
    """
    if stage.method.fit or not stage.init or pretrained.is_weights(stage.init):
        return heads.LINEAR
    spec = open_trained(stage.init, f"config.{stage.name}.init").spec
    kept = spec.classes == classes and (stage.method.correct or spec.head["name"] in heads.TRAINED)
    return spec.head if kept else heads.LINEAR


def variables(
    stage: StageConfig,
    fresh: Tree,
    classes: tuple[str, ...],
    image_shape: tuple[int, int, int],
    open_trained: Open = Trained.open,
    head: Mapping[str, str] = heads.LINEAR,
) -> tuple[Tree, list[str]]:
    """Returns new variables with every parameter that `stage.init` has in place of theirs.

    The head stays new if the classes differ, or if the stage has another kind of head.

    Args:
        stage: a stage with `init`.
        fresh: new variables of its model, arrays or their shapes.
        classes: names of the classes of the data.
        image_shape: (height, width, channels) in pixels of the images of the model.
        open_trained: reads a stage of the run or of another.
        head: of the stage, see the function `head`.

    Returns: (variables, lines for the log).

    Raises: UserError for weights of another architecture, or that cannot be read.
    """
    where = f"config.{stage.name}.init"
    if pretrained.is_weights(stage.init):
        return _published(stage, fresh, image_shape, where)
    trained = open_trained(stage.init, where)
    spec = trained.spec
    lines = []
    loaded = trained.variables
    if dict(spec.decoder) != stage.decoder:
        loaded = with_last_layers(loaded, fresh)
    params = dict(loaded["params"])  # a copy: other stages may begin with the same variables
    if spec.name == stage.model[0] and "pos_embed" in params and spec.image_shape[:2] != image_shape[:2]:
        positions, change = pretrained.resampled(params["pos_embed"], fresh["params"], image_shape[:2])
        params["pos_embed"] = np.asarray(positions)
        lines += [f"pos_embed: {change}"] if change else []
    if dict(spec.decoder) != stage.decoder:
        lines += [f"the head is new: {stage.init} has {_named(spec.decoder)}, the stage {_named(stage.decoder)}"]
    elif spec.classes != classes:
        others = counted(len(spec.classes), "other class", "other classes")
        lines += [f"the head is new: {stage.init} has {others}"]
    elif dict(spec.head) != dict(head):
        ends = f"{spec.head['name']!r} on {spec.head['pool']!r}"
        lines += [] if stage.method.fit else [f"the head is new: that of {stage.init} is {ends}, which is not trained"]
    else:
        fresh = fresh | {"params": fresh["params"] | {"head": params["head"]}}  # of the shapes of that kind of head
    params["head"] = fresh["params"]["head"]
    started = loaded | {"params": params}
    check((spec.name, spec.settings), started, stage, fresh)
    return started, lines


def with_last_layers(variables: Tree, fresh: Tree) -> Tree:
    """Returns variables with the decoder and the head of others in place of their own.

    Args:
        variables: of a network, arrays or their shapes.
        fresh: of a network with the same backbone.
    """
    return {
        name: {key: values for key, values in variables.get(name, {}).items() if key not in LAST}
        | {key: values for key, values in tree.items() if key in LAST}
        for name, tree in fresh.items()
    }


def _named(decoder: Mapping[str, Any]) -> str:
    return f"the decoder {decoder['name']!r}" if decoder else "no decoder"


def _published(
    stage: StageConfig, fresh: Tree, image_shape: tuple[int, int, int], where: str
) -> tuple[Tree, list[str]]:
    settings = stage.model[1]
    try:
        arrays = pretrained.read(stage.init)
        implied = pretrained.implied(stage.init, arrays)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    loaded, report = pretrained.load(arrays, fresh, image=image_shape[:2], where=where)
    for key, value in implied.items():
        if settings.get(key, value) != value:
            raise UserError(
                f"{where}: {stage.init!r} was trained with config.{stage.name}.model.{key} = {value}; set it"
            )
    lines = str(report).splitlines()
    if stage.init in pretrained.ZOO.keys() - pretrained.PACKAGED.keys():
        lines = [f"weights: {pretrained.files.locate(stage.init)}", *lines]
    if "tensorflow" in settings.keys() - implied.keys():
        lines.append(f"padding and eps are not in the file: taken as model.tensorflow = {settings['tensorflow']}")
    return loaded, lines


def check(model: tuple[str, Mapping[str, Any]], variables: Tree, stage: StageConfig, fresh: Tree) -> None:
    """Checks that the model of a stage computes the same function of variables as the model that they come from.

    Args:
        model: name and settings of the model that they come from.
        variables: arrays or their shapes.
        stage: the stage that begins with them.
        fresh: new variables of its model, arrays or their shapes.

    Raises: UserError for another architecture.
    """
    start, wanted = (
        {"name": name} | {key: p.default for key, p in parameters(MODELS[name], SUPPLIED).items()} | dict(settings)
        for name, settings in (model, stage.model)
    )
    keys = ["name"] if start["name"] != wanted["name"] else [key for key in wanted if key not in IN_TRAINING]
    differences = "; ".join(
        f"model.{key} is {start[key]!r} there, {wanted[key]!r} here" for key in keys if start[key] != wanted[key]
    )
    if differences := differences or checkpoint.compare(variables, fresh):
        raise UserError(
            f"config.{stage.name}.init: {stage.init!r} is a checkpoint of another architecture: {differences}"
        )
