"""Checks calls of the package against its annotations, at run time: shapes, dtypes and types.

`conftest.py` installs the import hook of jaxtyping with `check` before the package is imported. A call is checked when
it has returned, so that an error that the function raises by itself keeps its message. Of each function the first calls
of a test are checked, since checking all of them takes a fifth of the suite's time. Launched processes are not checked.
"""

import collections.abc
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

import beartype
import jax
import jaxtyping
import numpy as np

ARRAY = jax.Array | np.ndarray | np.generic  # a number of numpy is an array without axes
WIDER = {  # arrays of numpy and of jax stand for each other, those without axes for numbers, an int for a float
    jax.Array: ARRAY,
    np.ndarray: ARRAY,
    bool: bool | np.bool_ | jaxtyping.Bool[ARRAY, ""],
    int: int | np.integer | jaxtyping.Integer[ARRAY, ""],
    float: float | int | np.floating | np.integer | jaxtyping.Real[ARRAY, ""],
}
UNCHECKED = "__no_type_check__"  # attribute of functions whose calls jaxtyping leaves alone
RETURNED = "ret0"  # jaxtyping's name of the parameter that holds what a call returned
CONFIG = beartype.BeartypeConf(violation_type=TypeError)
CALLS = 3  # of a function in one test

_calls: collections.Counter[Callable[..., Any]] = collections.Counter()  # of this test
_made: dict[tuple[Any, ...], Callable[..., Any]] = {}  # signature -> function with checks


def begin_test() -> None:
    """Checks the first calls of every function again."""
    for function in _calls:
        function.__dict__.pop(UNCHECKED, None)
    _calls.clear()


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the checked form of a signature of the package, which jaxtyping calls before and after each call.

    Args:
        function: jaxtyping's empty function with the signature; the one called after has the parameter `RETURNED`.
    """
    if RETURNED not in function.__code__.co_varnames:
        return function
    checked: Callable[..., Any] | None = None

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        checked = checked or _checked(function)  # most functions are not called in a process
        returned = checked(*args, **kwargs)
        called = sys._getframe(1).f_locals["fn"]  # jaxtyping hands on the signature alone
        _calls[called] += 1
        if _calls[called] == CALLS:
            setattr(called, UNCHECKED, True)
        return returned

    return counted


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with beartype's checks, which take 3 ms to make; inner functions are defined many times."""
    signature = function.__module__, function.__qualname__, *function.__annotations__.items()
    if signature not in _made:
        function.__annotations__ = {name: wider(annotation) for name, annotation in function.__annotations__.items()}
        _made[signature] = beartype.beartype(function, conf=CONFIG)
    return _made[signature]


def wider(annotation: Any) -> Any:
    """Returns the annotation with `WIDER` in place of what it holds.

    Args:
        annotation: of a parameter or of what a function returns.
    """
    if inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
        return annotation.dtype[ARRAY, annotation.dim_str]
    if annotation in (*WIDER,):
        return WIDER[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return typing.Union[tuple(map(wider, arguments))]  # noqa: UP007
    if arguments and inspect.isclass(origin) and origin not in (type, collections.abc.Callable):
        return origin[tuple(map(wider, arguments))]
    return annotation
