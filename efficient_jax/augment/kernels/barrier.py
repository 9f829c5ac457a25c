"""A barrier to XLA's fusion, with types."""

from typing import TypeVar

from jax import lax

T = TypeVar("T")


def barrier(values: T) -> T:
    """Returns the values as they are; XLA computes them once, before what uses them, and does not fuse the two.

    Without it XLA computes cheap values anew for every element of every consumer.

    Args:
        values: an array, or a tree of arrays.

    Returns: `lax.optimization_barrier(values)`.
    """
    kept: T = lax.optimization_barrier(values)
    return kept
