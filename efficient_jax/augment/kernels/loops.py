"""The loop over images that is fastest on the platform: one by one on CPU, batched on accelerators."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

T = TypeVar("T")


def platform_loop(one: Callable[..., T], many: Callable[..., T] | None = None) -> Callable[..., T]:
    """Returns `one(*trees)` with a batch rule of its own: on CPU a loop of `one`, elsewhere `many`.

    XLA CPU recomputes cheap producers inside every consumer that it fuses. In a loop over images they are scalars and
    rows in cache; in a batched program they are whole arrays, and 2 to 6 times slower. And vmap(lax.switch) runs every
    branch for every image.

    Args:
        one: takes and returns trees of arrays, such as an example, of one image.
        many: the same for a batch, with a leading axis in every array; must give the same pixels. Default: `vmap(one)`.

    Returns: a function with the signature of `one`, to be vmapped.
    """
    many = many or jax.vmap(one)

    @jax.custom_batching.custom_vmap
    @jax.jit  # keeps constants inside: as operands of a switch around it they would be batched
    def batch(*trees: Any) -> Any:
        return lax.platform_dependent(*trees, cpu=lambda *t: lax.map(lambda each: one(*each), t), default=many)

    @batch.def_vmap
    def merge_axes(size: int, is_batched: list[Any], *trees: Any) -> tuple[Any, Any]:
        def merged(batched: bool, a: Array) -> Array:
            a = a if batched else jnp.broadcast_to(a, (size, *a.shape))
            return a.reshape(size * a.shape[1], *a.shape[2:])

        inner = jax.tree.leaves(trees)[0].shape[jax.tree.leaves(is_batched)[0]]
        out = batch(*jax.tree.map(merged, tuple(is_batched), trees))
        split = jax.tree.map(lambda a: a.reshape(size, inner, *a.shape[1:]), out)  # size may be 0
        return split, jax.tree.map(lambda _: True, split)

    return lambda *trees: jax.tree.map(lambda a: a[0], batch(*jax.tree.map(lambda a: a[None], trees)))
