"""Checks of parts of a stage's block; errors name the key."""

import inspect
from collections.abc import Mapping
from typing import Any

from efficient_jax import augment as augmentations
from efficient_jax import methods, models
from efficient_jax.augment.collage import SIZE_OF_MOSAIC
from efficient_jax.errors import UserError
from efficient_jax.optim import durations, optimizer, schedules
from efficient_jax.settings import Settings, bind, bind_named, choose

DURATIONS = ("warmup", "period", "boundaries")


def check_teachers(where: str, method: str, teachers: tuple[str, ...]) -> None:
    """Checks that a stage has teachers if and only if its method needs them.

    Args:
        where: dotted path of the stage's block.
        method: a name in `METHODS`.
        teachers: names of stages or runs.

    Raises: UserError otherwise.
    """
    if bool(teachers) == methods.METHODS[method].needs_teacher:
        return
    if teachers:
        raise UserError(f"{where}.teacher: the method {method!r} does not read {', '.join(map(repr, teachers))}")
    raise UserError(f"{where}.teacher: the method {method!r} needs one: the name of an earlier stage")


def check_patches(where: str, method: str, model: str) -> None:
    """Checks that the network of a method that hides patches has patches.

    Args:
        where: dotted path of the stage's block.
        method: a name in `METHODS`.
        model: a name in `MODELS`.

    Raises: UserError otherwise.
    """
    able = models.of_patches()
    if methods.METHODS[method].needs("encode") and model not in able:
        needed = " or ".join(map(repr, able))
        raise UserError(f"{where}.model.name: the method {method!r} needs {needed}, not {model!r}: it hides patches")


def check_unread(where: str, method: str, settings: Mapping[str, Any]) -> None:
    """Checks that no setting is given that a method without steps does not read.

    Args:
        where: dotted path of the stage's block.
        method: a name in `METHODS`.
        settings: key -> value; empty or zero if it is not given.

    Raises: UserError for one that is given.
    """
    for key, value in settings.items():
        if value:
            raise UserError(f"{where}.{key}: the method {method!r} takes no steps and does not read it")


def check_optim(optim: Mapping[str, Any], sizes: Mapping[str, int], where: str) -> None:
    """Checks a stage's optimizer before the number of its images is known: placeholders stand for it.

    Args:
        optim: the block `config.<stage>.optim`.
        sizes: stream -> images per step.
        where: dotted path of the stage's block.

    Raises: UserError for an unknown or negative setting.
    """
    first = next(iter(sizes.values()))
    optim_now = in_steps(optim, first, first, 100, f"{where}.optim")
    bound = bind(optimizer.optimizer, optim_now, f"{where}.optim")
    for key in ("learning_rate", "weight_decay", "clip"):
        if bound[key] < 0.0:
            raise UserError(f"{where}.optim.{key}: {bound[key]} is negative")
    bind_named(optimizer.ALGORITHMS, bound["algorithm"], f"{where}.optim.algorithm")


def check_views(where: str, method: str, augment: Settings, strong_augment: Settings) -> None:
    """Checks that the augmentations of a stage are those that its method can use.

    Args:
        where: dotted path of the stage's block.
        method: a name in `METHODS`.
        augment: the block of the augmentation.
        strong_augment: the block of the strong one; {} for none.

    Raises: UserError for a strong view that is missing or not read, and for operations that mix images or ask for
        saliency where the method does not allow it.
    """
    entry = methods.METHODS[method]
    two_views = entry.needs("strong_augment")
    if bool(strong_augment) != two_views:
        raise UserError(
            f"{where}.strong_augment: the method {method!r} "
            + ("needs a block of operations for the strong view" if two_views else "has no strong view")
        )
    for key, block in (("augment", augment), ("strong_augment", strong_augment)):
        mixes = mixing(block)
        if mixes and not entry.mixes:
            raise UserError(
                f"{where}.{key}: {mixes[0]!r} mixes images, but the method {method!r} compares views of one image"
            )
        asking = [op for op in mixes if "saliency" in inspect.signature(augmentations.MIXES[op]).parameters]
        if asking and not entry.saliency:
            able = " or ".join(repr(name) for name, other in methods.METHODS.items() if other.saliency)
            raise UserError(
                f"{where}.{key}: {asking[0]!r} wants the saliency of images, which the method {method!r} does not "
                f"compute; take the method {able}, or another operation"
            )


def check_names(keys: Mapping[str, tuple[Any, ...]], where: str) -> None:
    """Checks that names are strings.

    Args:
        keys: key of the stage's block -> names.
        where: dotted path of that block.

    Raises: UserError for the first that is none.
    """
    for key, names in keys.items():
        if wrong := [name for name in names if not isinstance(name, str)]:
            raise UserError(f"{where}.{key}: {wrong[0]!r} is not a string")


def mixing(block: Mapping[str, Any]) -> list[str]:
    """Returns the operations of an augmentation that mix images, sorted.

    Args:
        block: the block of the augmentation.
    """
    return sorted(augmentations.operations(block) & augmentations.MIXES.keys())


def joined(*blocks: Mapping[str, Any]) -> int:
    """Returns how many neighbouring images the operations of augmentations join: 1, 2, or 4 for a mosaic.

    Args:
        blocks: of the augmentations.
    """
    joining = [op for block in blocks for op in mixing(block)]
    return SIZE_OF_MOSAIC if "mosaic" in joining else 2 if joining else 1


def suspect_settings(
    where: str, init: str, trains: bool, unlabelled: int, *, action: str = "", features: str = "", keep: int = 5
) -> None:
    """Checks what a stage does with labelled images whose label looks wrong.

    Args:
        where: dotted path of the block.
        init: start of the stage.
        trains: whether the stage trains in steps.
        unlabelled: unlabelled images in a step.
        action: "drop" leaves suspects out, "unlabel" gives them to the unlabelled stream, "weight" multiplies their
            loss by the out-of-fold probability of their label; "": every label is believed.
        features: an earlier stage, the folder of one, or weights whose features show suspects; "": those of `init`. A
            network that was trained on wrong labels has learned them too, and finds fewer.
        keep: labelled images of each class that stay, 1 or more.

    Raises: UserError for a stage without features, and for an action that its method does not allow.
    """
    at_least(keep, 1, f"{where}.keep")
    if not action and not features:
        return
    choose(action, dict.fromkeys(("drop", "unlabel", "weight")), f"{where}.action")
    if not init and not features:
        raise UserError(
            f"{where}.features: suspects are found by the features of a trained network, and the stage has no init; "
            "name an earlier stage or weights"
        )
    if action == "unlabel" and not unlabelled:
        raise UserError(f"{where}.action: 'unlabel' needs a stage with unlabelled images in its batch; take 'drop'")
    if action == "weight" and not trains:
        raise UserError(f"{where}.action: 'weight' needs a method that trains in steps; take 'drop'")


def length_of(forms: Mapping[str, float], where: str) -> tuple[str, float]:
    """Returns the one length of a stage that is given.

    Args:
        forms: unit -> amount, 0 if it is not given.
        where: dotted path of the stage's block.

    Returns: (unit, amount above 0).

    Raises: UserError for none, several, or a negative one.
    """
    lengths = [(unit, amount) for unit, amount in forms.items() if amount]
    if len(lengths) != 1:
        shown = " and ".join(f"{unit} = {amount}" for unit, amount in lengths) or "none of them is given"
        raise UserError(f"{where}: want one of {', '.join(forms)}; {shown}")
    unit, amount = lengths[0]
    if amount < 0:
        raise UserError(f"{where}.{unit}: {amount} is negative")
    return unit, float(amount)


def in_steps(block: Mapping[str, Any], batch: int, labelled: int, steps: int, where: str) -> Settings:
    """Returns `config.<stage>.optim` with every duration in steps, those of its schedule too.

    Args:
        block: that block.
        batch: images of the first stream per step.
        labelled: images of the first stream.
        steps: steps of the stage.
        where: dotted path of the block.

    Raises: UserError for two forms of one duration, or an unknown schedule.
    """
    measures = {"batch": batch, "epoch": labelled, "steps": steps}
    share = block.get("warmup_percent", 0.0)
    block = durations.resolve(block, DURATIONS[:1], **measures, where=where)
    if isinstance(share, int | float) and 0 < share < 100:  # it leaves something to train, also where it is rounded up
        block["warmup"] = min(block["warmup"], steps - 1)
    if isinstance(block.get("schedule"), Mapping):
        block["schedule"] = durations.resolve(block["schedule"], DURATIONS[1:], **measures, where=f"{where}.schedule")
        bind_named(schedules.SCHEDULES, block["schedule"], f"{where}.schedule")
    return block


def at_least(value: float, least: float, where: str) -> None:
    """Checks that a number is large enough.

    Args:
        value: the number.
        least: the smallest allowed one.
        where: dotted path of its key.

    Raises: UserError for a smaller one.
    """
    if value < least:
        raise UserError(f"{where}: {value} is less than {least}")
