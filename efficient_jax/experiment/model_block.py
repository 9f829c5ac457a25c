"""The block of a stage's model where a config leaves it out: it follows from what the stage begins with."""

from collections.abc import Mapping
from typing import Any

from efficient_jax.errors import UserError, nearest
from efficient_jax.models import pretrained
from efficient_jax.models.pretrained import ZOO
from efficient_jax.settings import Settings

NOTHING: Settings = {}


def model_block(model: Mapping[str, Any], init: str, where: str) -> Mapping[str, Any]:
    """Returns the block `config.<stage>.model`, with what published weights say of settings that it leaves out.

    Of a file, they are read only where the block does not name an architecture; `initialise` compares the others.

    Args:
        model: the block.
        init: `config.<stage>.init`.
        where: dotted path of the stage's block, for errors.

    Raises: UserError for weights of another architecture, and for those that are unknown or cannot be read where the
        block names none.
    """
    if not isinstance(model, Mapping) or ("name" in model and init not in ZOO):
        return model
    if not pretrained.is_weights(init):
        if not init:
            return model
        raise UserError(
            f"{where}.model.name: missing, and init = {init!r} is no name of published weights that would say it"
            + nearest(init, ZOO)
        )
    try:
        name, settings = pretrained.model_of(init)
    except UserError as error:
        raise UserError(f"{where}.init: {error}") from None
    if model.get("name", name) != name:
        raise UserError(
            f"{where}.model.name: {model['name']!r}, but init = {init!r} is of the model {name!r}; leave {where}.model "
            "out, and it follows from the weights"
        )
    return {"name": name, **settings, **model}


def inherited(blocks: Mapping[str, Any], name: str) -> Settings:
    """Returns the block of a stage; without a model of its own, with that of the stage that it begins with.

    Args:
        blocks: name -> block of each stage.
        name: of the stage.

    Raises: UserError as `model_block`.
    """
    block = dict(blocks[name])
    model, init = block.get("model", NOTHING), block.get("init", "")
    if not isinstance(model, Mapping) or "name" in model or not isinstance(init, str):
        return block
    if init != name and isinstance(blocks.get(init), Mapping):
        start = inherited({other: blocks[other] for other in blocks if other != name}, init)
        follows = model_block(start.get("model", NOTHING), start.get("init", ""), f"config.{init}")
        block["model"] = {**follows, **model}
    return block
