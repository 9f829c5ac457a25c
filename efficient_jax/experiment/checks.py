"""Parts of a stage's block, checked: what does not fit together is said with its key."""

import inspect
from collections.abc import Mapping
from typing import Any

from efficient_jax import augment as augmentations
from efficient_jax import methods
from efficient_jax.errors import UserError
from efficient_jax.optim import durations, optimizer, schedules
from efficient_jax.settings import bind, bind_named

DURATIONS = ("warmup", "period", "boundaries")


def check_teachers(where: str, method: str, teachers: tuple[str, ...]) -> None:
    if bool(teachers) == methods.METHODS[method].needs_teacher:
        return
    if teachers:
        raise UserError(f"{where}.teacher: the method {method!r} has no use for {', '.join(map(repr, teachers))}")
    raise UserError(f"{where}.teacher: the method {method!r} needs one: the name of an earlier stage")


def check_unread(where: str, method: str, given: Mapping[str, Any]) -> None:
    for key, value in given.items():
        if value:
            raise UserError(f"{where}.{key}: the method {method!r} has no updates and does not read it")


def check_optim(optim: Mapping[str, Any], sizes: Mapping[str, int], where: str) -> None:
    """With placeholders: how many images are labelled is not known yet."""
    first = next(iter(sizes.values()))
    optim_now = in_updates(optim, first, first, 100, f"{where}.optim")
    bound = bind(optimizer.optimizer, optim_now, f"{where}.optim")
    for key in ("learning_rate", "weight_decay", "clip"):
        if bound[key] < 0.0:
            raise UserError(f"{where}.optim.{key}: {bound[key]} is negative")
    bind_named(optimizer.ALGORITHMS, bound["algorithm"], f"{where}.optim.algorithm")


def check_views(where: str, method: str, augment: dict, strong_augment: dict) -> None:
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


def check_names(keys: Mapping[str, tuple], where: str) -> None:
    for key, names in keys.items():
        if wrong := [name for name in names if not isinstance(name, str)]:
            raise UserError(f"{where}.{key}: {wrong[0]!r} is no name")


def mixing(block: Mapping[str, Any]) -> list[str]:
    return sorted(augmentations.operations(block) & augmentations.MIXES.keys())


def length_of(forms: Mapping[str, float], where: str) -> tuple[str, float]:
    """The one of `forms` that is given."""
    given = [(unit, amount) for unit, amount in forms.items() if amount]
    if len(given) != 1:
        shown = " and ".join(f"{unit} = {amount}" for unit, amount in given) or "none of them is given"
        raise UserError(f"{where}: want one of {', '.join(forms)}; {shown}")
    unit, amount = given[0]
    if amount < 0:
        raise UserError(f"{where}.{unit}: {amount} is negative")
    return unit, float(amount)


def in_updates(block: Mapping[str, Any], batch: int, labelled: int, updates: int, where: str) -> dict[str, Any]:
    """`config.<stage>.optim` with every duration in updates, those of its schedule too."""
    measures = {"batch": batch, "epoch": labelled, "updates": updates}
    given = block
    block = durations.resolve(block, DURATIONS[:1], **measures, where=where)
    share = given.get("warmup_percent", 0.0)
    if isinstance(share, int | float) and 0 < share < 100:  # it leaves something to train, also where it is rounded up
        block["warmup"] = min(block["warmup"], updates - 1)
    if isinstance(block.get("schedule"), Mapping):
        block["schedule"] = durations.resolve(block["schedule"], DURATIONS[1:], **measures, where=f"{where}.schedule")
        bind_named(schedules.SCHEDULES, block["schedule"], f"{where}.schedule")
    return block


def at_least(value: int, least: int, where: str) -> None:
    if value < least:
        raise UserError(f"{where}: {value} is less than {least}")
