"""Checks calls of the package against its annotations, at run time: shapes, dtypes and types.

`conftest.py` installs the import hook of jaxtyping with `check` before the package is imported. A call is checked when
it has returned, so that an error that the function raises by itself keeps its message. Launched processes are not
checked.
"""

import collections.abc
import functools
import inspect
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
RETURNED = "ret0"  # jaxtyping's name of the parameter that holds what a call returned
CONFIG = beartype.BeartypeConf(violation_type=TypeError)


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the checked form of a signature of the package, which jaxtyping calls before and after each call.

    Args:
        function: jaxtyping's empty function with the signature; the one called after has the parameter `RETURNED`.
    """
    signature = inspect.signature(function)
    if RETURNED not in signature.parameters:
        return function

    @functools.cache
    def checked() -> Callable[..., Any]:  # made when it is first needed: most functions are not called in a process
        function.__annotations__ = {name: wider(annotation) for name, annotation in function.__annotations__.items()}
        return beartype.beartype(function, conf=CONFIG)

    return lambda *args, **kwargs: checked()(*args, **kwargs)


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
