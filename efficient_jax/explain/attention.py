"""Where the tokens of a transformer look: the weights of one layer, and of all layers together (arXiv 2005.00928).

What they show belongs to the image, whatever the class that is asked about.
"""

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.errors import UserError


def weights(intermediates: Mapping[str, Array]) -> list[Float[Array, "b heads n n"]]:
    """Of each layer, from the input on. Raises: UserError where the network has none."""
    found = [intermediates[name] for i in range(len(intermediates)) if (name := f"attention{i + 1}") in intermediates]
    if not found:
        raise UserError("attention maps are for transformers; this network has no attention")
    return found


def rollout(layers: Sequence[Float[Array, "b heads n n"]]) -> Float[Array, "b n n"]:
    """How much of each token of the input (column) has come to each token of the last layer (row); rows sum to 1.

    The product over the layers of half the mean of the heads and half the identity, which stands for the residual
    connection: the last layer on the left.
    """
    identity = jnp.eye(layers[0].shape[-1])
    total = identity
    for layer in layers:
        mixed = layer.astype(jnp.float32).mean(1) + identity
        total = jnp.matmul(mixed / mixed.sum(-1, keepdims=True), total, precision="highest")
    return total


def over_patches(attention: Float[Array, "b n n"], size: tuple[int, ...]) -> Float[Array, "b rows columns"]:
    """What the head sees of each patch of an image of `size` (h, w): the row of the class token, which comes first, or
    where there is none the mean of all rows."""
    rows, columns = grid(attention.shape[-1], size)
    seen = attention.mean(1) if rows * columns == attention.shape[-1] else attention[:, 0, 1:]
    return seen.reshape(-1, rows, columns)


def grid(tokens: int, size: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of the square patches that fill an image of `size` (h, w), one token each and perhaps a class
    token: never both, since of areas h w / side^2 no two differ by 1. Raises: UserError where no patches do."""
    h, w = size
    for patches in range(max(tokens - 1, 1), tokens + 1):
        side = math.isqrt(h * w // patches)
        if side and h % side == w % side == 0 and (h // side) * (w // side) == patches:
            return h // side, w // side
    raise UserError(
        f"{tokens} tokens are not the square patches of an image of {h} x {w}, with a class token or without"
    )
