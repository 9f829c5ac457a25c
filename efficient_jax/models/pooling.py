"""Maximum pooling in the form whose gradient is fastest on the platform."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from efficient_jax.models.plain_forms import is_plain


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Returns the maximum of every 2x2 tile; equal pixels share the gradient.

    The values are those of `nn.max_pool`, but the gradient of its reduce_window takes half of the step of a small
    network on CPU, and that of a maximum over two axes of tiles still a quarter.

    Args:
        x: feature maps. A last row or column that fills no tile is dropped.

    Returns: feature maps of half the height and width.
    """
    if is_plain():
        return _max_windows(x, 2, 0)
    b, h, w, c = x.shape
    tiles = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    return max_over(tiles, (2, 4))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_over(x: Float[Array, " *all"], axes: tuple[int, ...]) -> Float[Array, " *others"]:
    """Returns the maximum over axes; equal entries share the gradient.

    Args:
        x: of any shape.
        axes: of `x`.
    """
    return functools.reduce(jnp.maximum, _along(x, axes))


def _max_over_backward(
    axes: tuple[int, ...], kept: tuple[Array, Array], g: Float[Array, " *others"]
) -> tuple[Float[Array, " *all"]]:
    x, highest = kept
    share = g / sum((entries == highest).astype(g.dtype) for entries in _along(x, axes))
    highest, share = (jnp.expand_dims(y, axes) for y in (highest, share))
    return (jnp.where(x == highest, share, 0.0).astype(x.dtype),)


max_over.defvjp(lambda x, axes: (y := max_over(x, axes), (x, y)), _max_over_backward)


def _along(x: Float[Array, " *all"], axes: tuple[int, ...]) -> list[Float[Array, " *others"]]:
    """Returns `x` at every index along `axes`, in row-major order."""
    slices = []
    for position in np.ndindex(*(x.shape[axis] for axis in axes)):
        index: list[Any] = [slice(None)] * x.ndim
        for axis, i in zip(axes, position, strict=True):
            index[axis] = i
        slices.append(x[tuple(index)])
    return slices


def max_pool_overlapping(x: Float[Array, "b h w c"]) -> Float[Array, "b (h+1)//2 (w+1)//2 c"]:
    """Returns the maximum of 3x3 windows with stride 2 and padding 1, as torch's MaxPool2d(3, 2, 1).

    It takes rows, then columns, by six slices, since the gradient of XLA's reduce_window is slow on CPU.

    Args:
        x: feature maps.

    Returns: feature maps of half the height and width, rounded up.
    """
    if is_plain():
        return _max_windows(x, 3, 1)
    for axis in (1, 2):
        n = (x.shape[axis] + 1) // 2
        x = jnp.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(4)], constant_values=-jnp.inf)
        first, second, third = (jax.lax.slice_in_dim(x, i, i + 2 * n - 1, 2, axis) for i in range(3))
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def _max_windows(x: Float[Array, "b h w c"], size: int, pad: int) -> Float[Array, "b h2 w2 c"]:
    """Returns the maximum of windows with stride 2, by XLA."""
    pooled: Array = nn.max_pool(x, (size, size), (2, 2), ((pad, pad), (pad, pad)))
    return pooled
