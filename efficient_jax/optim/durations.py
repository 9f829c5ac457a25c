"""Durations of a config, each given in exactly one of four units: steps, epochs, examples or percent."""

from collections.abc import Collection, Mapping, MutableMapping
from typing import Any

from ml_collections import ConfigDict

from efficient_jax.errors import UserError
from efficient_jax.settings import Settings

UNITS = ("", "_epochs", "_examples", "_percent")
LENGTHS = ("steps", "epochs", "examples")
"""The keys that can give the length of a stage; `steps` counts steps."""


def override(config: MutableMapping[str, Any] | ConfigDict, paths: Collection[str]) -> None:
    """Sets the other forms of every duration at `paths` to 0 in `config`: a flag replaces the form in the file.

    Args:
        config: a config whose values at `paths` have been overridden already; changed in place.
        paths: dotted keys, such as "teacher.steps" or "teacher.optim.warmup". If two forms of one duration are among
            them, neither becomes 0, so that `resolve` reports the contradiction.
    """
    for path in paths:
        *blocks, key = path.split(".")
        block: Any = config
        for name in blocks:
            block = block[name]
        name = next((key.removesuffix(unit) for unit in UNITS[1:] if key.endswith(unit)), key)
        forms = LENGTHS if key in LENGTHS else [name + unit for unit in UNITS]
        for form in forms:
            other = ".".join([*blocks, form])
            if block[key] and form != key and form in block and other not in paths:
                block[form] = type(block[form])(0) if isinstance(block[form], int | float) else ()


def resolve(
    block: Mapping[str, Any], names: tuple[str, ...], *, batch: int, epoch: int, steps: int, where: str
) -> Settings:
    """Returns `block` with each duration of `names` in whole steps, in whichever form it is given.

    A duration X has four keys: X in steps, X_epochs in passes over the labelled examples, X_examples in labelled
    examples, and X_percent in percent of the steps of the stage. Each is a number or a tuple of numbers. A duration is
    rounded to the nearest step (halves up), and to at least 1 if it is positive. 0, 0.0 and () mean not given, so that
    a default in one form can be overridden in another.

    Args:
        block: settings that may have the four keys of each duration.
        names: the durations X.
        batch: labelled examples in a step.
        epoch: number of labelled examples; 0 while it is unknown.
        steps: steps of the stage; 0 while they are unknown.
        where: dotted path of the block, for messages.

    Returns: the settings with one key X for each duration, without its other forms. A duration without any key in
        `block` stays absent.

    Raises: UserError for a duration that is given in two forms, is negative or not a number, or has an unknown unit.
    """
    steps_in = dict(zip(UNITS, (1.0, epoch / batch, 1.0 / batch, steps / 100.0), strict=True))
    resolved = dict(block)
    for name in names:
        forms = {name + unit: size for unit, size in steps_in.items() if name + unit in block}
        for key in forms:
            del resolved[key]
        set_keys = [key for key in forms if block[key] not in (0, ())]
        if len(set_keys) > 1:
            raise UserError(f"{where}: {set_keys[0]} and {set_keys[1]} are both given; give one")
        for key in set_keys or list(forms)[:1]:
            if key in set_keys and not forms[key]:
                others = ", ".join(name + unit for unit, size in steps_in.items() if size)
                raise UserError(f"{where}: {key} cannot be converted to steps here; give one of {others}")
            resolved[name] = _steps(block[key], forms[key], f"{where}.{key}", whole=key == name)
    return resolved


def _steps(value: Any, size: float, where: str, whole: bool) -> Any:
    if isinstance(value, tuple):
        return tuple(_steps(part, size, where, whole) for part in value)
    if type(value) not in ((int,) if whole else (int, float)):
        raise UserError(
            f"{where}: expected a {'whole number of steps' if whole else 'number'}, got {value!r} "
            f"({type(value).__name__})"
        )
    if not 0 <= value < float("inf"):
        raise UserError(f"{where}: {value} is not a duration; want 0 or more")
    return max(1, int(value * size + 0.5)) if value else 0
