"""Durations of a config in steps, epochs, examples or percent: exactly one of them."""

from collections.abc import Collection, Mapping, MutableMapping
from typing import Any

from efficient_jax.types import UserError

UNITS = ("", "_epochs", "_examples", "_percent")
LENGTHS = ("updates", "epochs", "examples")
"""The forms of the length of a stage."""


def override(config: MutableMapping[str, Any], paths: Collection[str]) -> None:
    """Sets the other forms of every duration at `paths` to 0 in `config`: a flag replaces the form that a file gives.

    Args:
        config: a config whose values at `paths` have been overridden already.
        paths: dotted keys, such as "teacher.updates" or "teacher.optim.warmup". Of two forms that are both among them
            neither becomes 0, so that the contradiction is said.
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
    steps_in = dict(zip(UNITS, (1.0, epoch / batch, 1.0 / batch, updates / 100.0), strict=True))
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
