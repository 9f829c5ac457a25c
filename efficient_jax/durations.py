"""Durations of a config in steps, epochs, examples or percent: exactly one of them."""

from collections.abc import Mapping
from typing import Any

from efficient_jax.types import UserError


def resolve(
    block: Mapping[str, Any], names: tuple[str, ...], *, batch: int, epoch: int, updates: int, where: str
) -> dict[str, Any]:
    """`block` with each duration X of `names` in whole steps, whichever of its forms was given:

    X           steps (updates of the model)
    X_epochs    passes over the `epoch` labelled examples; 0: their number is not known yet
    X_examples  labelled examples, `batch` in each step
    X_percent   percent of the `updates` of the stage; 0: not known yet

    A form is a number, or a tuple of them, each then converted. It is rounded to the nearest step (a half up), to at
    least 1 where it is positive. 0, 0.0 and () count as not given, so that a config can have a default in one form
    that another form overrides. X is absent where all its forms are.

    Raises: UserError, naming the keys after `where`, when two forms are given, when one is negative or no number,
    and for a form whose measure is not known.
    """
    steps_in = {"": 1.0, "_epochs": epoch / batch, "_examples": 1.0 / batch, "_percent": updates / 100.0}
    resolved = dict(block)
    for name in names:
        forms = {name + unit: size for unit, size in steps_in.items() if name + unit in block}
        for key in forms:
            del resolved[key]
        given = [key for key in forms if block[key] not in (0, ())]
        if len(given) > 1:
            raise UserError(f"{where}: {given[0]} and {given[1]} are both given; give one")
        for key in given or list(forms)[:1]:
            if key in given and not forms[key]:
                others = ", ".join(name + unit for unit, size in steps_in.items() if size)
                raise UserError(f"{where}: {key} is measured by what is not known here; give one of {others}")
            resolved[name] = _steps(block[key], forms[key], f"{where}.{key}", whole=key == name)
    return resolved


def _steps(value: Any, size: float, where: str, whole: bool) -> Any:
    if isinstance(value, tuple):
        return tuple(_steps(each, size, where, whole) for each in value)
    if type(value) not in ((int,) if whole else (int, float)):
        raise UserError(
            f"{where}: expected a {'whole number of steps' if whole else 'number'}, got {value!r} "
            f"({type(value).__name__})"
        )
    if not 0 <= value < float("inf"):
        raise UserError(f"{where}: {value} is not a duration; want 0 or more")
    return max(1, int(value * size + 0.5)) if value else 0
