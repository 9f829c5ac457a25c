"""A config block is the keyword arguments of one function: bound and checked before anything compiles."""

import inspect
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from types import UnionType
from typing import Any, TypeVar

from efficient_jax.errors import UserError, nearest

T = TypeVar("T")

Settings = dict[str, Any]
"""A block of a config: the keyword arguments of the function that reads it, or blocks of these. The function says which
keys there are and of which type, see `bind`."""


def choose(name: str, options: Mapping[str, T], where: str) -> T:
    """The option called `name`, or a `UserError` with the nearest name."""
    name = unicodedata.normalize("NFC", name) if isinstance(name, str) else name  # as names of classes are
    if name not in list(options):  # a list: the name may be anything, such as a dict
        raise UserError(f"{where}: unknown name {name!r}{nearest(str(name), options)}")
    return options[name]


def several_names(names: Any, where: str) -> Sequence[Any]:
    """The names, which nobody has checked, or a `UserError` where they are one string."""
    if not isinstance(names, tuple | list):
        one = f"({names!r},)" if isinstance(names, str) else "('name',)"
        raise UserError(f"{where}: want a tuple of names, such as {one}, got {names!r} ({type(names).__name__})")
    return names


def parameters(function: Callable[..., Any], supplied: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a function that are settings: the keyword-only ones. The caller gives the others.

    Args:
        function: a function; or a class, whose settings are all parameters but those named in `supplied`.
        supplied: parameters of a class that are no settings.
    """
    known = inspect.signature(function).parameters
    if inspect.isclass(function):
        return {name: parameter for name, parameter in known.items() if name not in supplied}
    return {name: parameter for name, parameter in known.items() if parameter.kind is parameter.KEYWORD_ONLY}


def meanings(function: Callable[..., Any]) -> dict[str, str]:
    """Returns what the `Args:` section of a docstring says of each parameter, on one line.

    Args:
        function: a function or a class.
    """
    lines = inspect.cleandoc(function.__doc__ or "").splitlines()
    if "Args:" not in lines:
        return {}
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        entry = re.match(r" {4}(\w+(?:, \w+)*): (.*)", line)
        if entry:
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        else:
            found |= {name: f"{found[name]} {line.strip()}".rstrip() for name in names}
    return found


def bind(
    function: Callable[..., Any], block: Mapping[str, Any], where: str, supplied: Collection[str] = ()
) -> Settings:
    """Returns the settings that `block` gives to `function`, defaults filled in.

    Values must have the annotated type where that is a plain one (an int passes for a float).

    Args:
        function: its keyword-only parameters are the settings, see `parameters`.
        block: setting -> value.
        where: the dotted path of the block, for errors.
        supplied: parameters of a class that are no settings.

    Raises: UserError for an unknown, missing or ill-typed key.
    """
    if not isinstance(block, Mapping):
        raise UserError(f"{where}: expected a block of settings, got {block!r} ({type(block).__name__})")
    settings = parameters(function, supplied)
    for key in block:
        if key not in settings:
            raise UserError(f"{where}.{key}: no such key{nearest(str(key), settings)}")
    bound = {}
    for name, parameter in settings.items():
        if name not in block and parameter.default is parameter.empty:
            raise UserError(f"{where}.{name}: missing, and it has no default")
        bound[name] = _typed(block.get(name, parameter.default), parameter.annotation, f"{where}.{name}")
    return bound


def bind_named(
    options: Mapping[str, Callable[..., Any]], block: Mapping[str, Any], where: str, supplied: Collection[str] = ()
) -> tuple[str, Settings]:
    """Returns (name, settings) of a block whose `name` chooses the function that its other keys are bound to.

    Args:
        options: name -> function.
        block: "name" and the settings of the function.
        where: the dotted path of the block, for errors.
        supplied: see `bind`.

    Raises: UserError for an unknown name, and as `bind`.
    """
    if "name" not in block:
        raise UserError(f"{where}.name: missing{nearest('', options)}")
    function = choose(block["name"], options, f"{where}.name")
    return block["name"], bind(function, {k: v for k, v in block.items() if k != "name"}, where, supplied)


def _typed(value: Any, wanted: Any, where: str) -> Any:
    """`value`, with an int made a float where a float is wanted; UserError when the type is another."""
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is float and isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: {value} is no finite number")
    if isinstance(wanted, UnionType):  # float | tuple[float, float]: a value, or a tuple of several
        tuples = [each for each in wanted.__args__ if getattr(each, "__origin__", each) is tuple]
        others = [each for each in wanted.__args__ if each not in tuples]
        if len(tuples) == len(others) == 1:
            wanted = tuples[0] if isinstance(value, tuple) else others[0]
            return _typed(value, wanted, where)
    expected = getattr(wanted, "__origin__", wanted)
    if expected in (int, float, str, bool, tuple, dict) and not (
        isinstance(value, Mapping if expected is dict else expected)
        and (expected is not int or value is not bool(value))
    ):
        raise UserError(f"{where}: expected {expected.__name__}, got {value!r} ({type(value).__name__})")
    return value
