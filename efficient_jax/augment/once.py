"""Programs that run once, on a few images, such as those that a page shows."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from efficient_jax.types import BatchKeys

QUICKLY = {"xla_backend_optimization_level": 0}  # of every jaxlib; one without the option raises


def run_once(function: Callable[..., Any], keys: BatchKeys, batch: Mapping[str, Any]) -> Any:
    """Returns `function(keys, batch)` as arrays on the host, of a program that takes little time to compile.

    Args:
        function: traced; what it returns is a tree of arrays.
        keys: one key for each example.
        batch: the examples.
    """
    return jax.device_get(jax.jit(function, compiler_options=QUICKLY)(keys, batch))
