"""What a stage begins with: new variables, those of another stage, or weights that others trained; and the
normalisation of images that belongs to them."""

from collections.abc import Mapping
from pathlib import Path

from efficient_jax.models import pretrained
from efficient_jax.plan import Stage, is_weights
from efficient_jax.training import checkpoint
from efficient_jax.types import Tree, UserError


def folder(reference: str, workdir: Path) -> Path:
    """What `reference` means: a stage of this run, or a folder of another."""
    inside = workdir / reference
    return inside if (inside / checkpoint.FOLDER).is_dir() else Path(reference)


def normalisation(
    stage: Stage, stages: Mapping[str, Stage], workdir: Path, data: tuple[tuple[float, ...], tuple[float, ...]]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) per channel of pixels in 0..1: of what the stage begins with, else that of the `data`.

    `config.<stage>.mean` and `.std` come before both.
    """
    if stage.mean:
        return stage.mean, stage.std
    if not stage.init:
        return data
    if stage.init in stages:
        return normalisation(stages[stage.init], stages, workdir, data)
    if is_weights(stage.init):
        if stage.model[0] not in pretrained.FAMILIES:
            raise UserError(
                f"config.{stage.name}.init: {stage.init!r} are weights of others, which there are for "
                f"{', '.join(pretrained.FAMILIES)}; the model is {stage.model[0]!r}"
            )
        found = pretrained.preprocessing(stage.init, stage.model[0])
        return found.mean, found.std
    _, description = checkpoint.load(folder(stage.init, workdir), f"config.{stage.name}.init")
    return tuple(description["mean"]), tuple(description["std"])


def variables(
    stage: Stage, fresh: Tree, classes: tuple[str, ...], image_shape: tuple[int, int, int], workdir: Path
) -> tuple[Tree, list[str]]:
    """(`fresh`, arrays or their shapes, with what `stage.init` has in place of it, what to say of that).

    Where the classes are others, the head stays as in `fresh`. Raises: UserError for weights of another architecture.
    """
    where = f"config.{stage.name}.init"
    if is_weights(stage.init):
        found, report = pretrained.load(pretrained.read(stage.init), fresh, image=image_shape[:2], where=where)
        return found, str(report).splitlines()
    found, description = checkpoint.load(folder(stage.init, workdir), where)
    said = []
    if description["classes"] != list(classes):
        said = [f"the head is new: {stage.init} knows {len(description['classes'])} other classes"]
        found["params"]["head"] = fresh["params"]["head"]
    if differences := checkpoint.compare(found, fresh):
        raise UserError(f"{where}: {stage.init!r} is a checkpoint of another architecture: {differences}")
    return found, said
