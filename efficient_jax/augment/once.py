"""Programs that run once, on a few images, such as those that a page shows."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from efficient_jax.types import BatchKeys

# It takes longer to compile such a program than to run it. A jaxlib raises for options that it does not know, and this
# one all have that pyproject.toml allows.
QUICKLY = {"xla_backend_optimization_level": 0}


def run_once(function: Callable[..., Any], keys: BatchKeys, batch: Mapping[str, Any]) -> Any:
    """Returns `function(keys, batch)` as arrays on the host, of a program that takes little time to compile.

    Args:
        function: traced; what it returns is a tree of arrays.
        keys: one key for each example.
        batch: the examples.
    """
    return jax.device_get(jax.jit(function, compiler_options=QUICKLY)(keys, batch))
