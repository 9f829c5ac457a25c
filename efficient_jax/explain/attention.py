"""Attention maps of a transformer: the weights of one layer, and their rollout over all layers (arXiv 2005.00928).

Attention maps depend on the image only, not on a class.
"""

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.errors import UserError

PREFIXES = (1, 0, 5, 2)
"""Numbers of tokens before the patches: a class token, none, one with four registers, one with a distillation token."""


def weights(intermediates: Mapping[str, Array]) -> list[Float[Array, "b heads n n"]]:
    """Returns the attention weights of each layer, from the input on.

    Args:
        intermediates: name -> array, as the network returns them; attention is "attention1", "attention2", ...

    Returns:
        For each layer weights [b heads n n] of n tokens; each row sums to 1.

    Raises:
        UserError: the network has no attention.
    """
    layers = [intermediates[name] for i in range(len(intermediates)) if (name := f"attention{i + 1}") in intermediates]
    if not layers:
        raise UserError("attention maps are for transformers; this network has no attention")
    return layers


def rollout(layers: Sequence[Float[Array, "b heads n n"]]) -> Float[Array, "b n n"]:
    """Returns the attention rollout: the share of each input token (column) in each output token (row).

    It is the product over the layers, the last on the left, of half the mean of the heads and half the identity, which
    stands for the residual connection (arXiv 2005.00928).

    Args:
        layers: attention weights of each layer, from the input on, as from `weights`.

    Returns:
        [b n n], 0..1; each row sums to 1.
    """
    identity = jnp.eye(layers[0].shape[-1])
    total = identity
    for layer in layers:
        mixed = layer.astype(jnp.float32).mean(1) + identity
        total = jnp.matmul(mixed / mixed.sum(-1, keepdims=True), total, precision="highest")
    return total


def over_patches(attention: Float[Array, "b n n"], size: tuple[int, ...]) -> Float[Array, "b rows columns"]:
    """Returns attention as a map over patches: the class token's row, or the mean of all rows without a class token.

    Args:
        attention: [b n n], rows attend to columns; a class token comes first, registers are between it and the patches.
        size: (h, w) of the image in pixels.

    Returns:
        [b rows columns], one value per patch.

    Raises:
        UserError: n is not a number of square patches of such an image, with or without a class token.
    """
    rows, columns = grid(attention.shape[-1], size)
    prefix = attention.shape[-1] - rows * columns
    seen = attention[:, 0, prefix:] if prefix else attention.mean(1)
    return seen.reshape(-1, rows, columns)


def grid(tokens: int, size: tuple[int, ...]) -> tuple[int, int]:
    """Returns (rows, columns) of the square patches behind `tokens`.

    Whether one of the tokens is a class token is unambiguous: no two numbers of patches h w / side^2 differ by 1.
    Other tokens before the patches are looked for only after that.

    Args:
        tokens: the number of tokens, those before the patches included.
        size: (h, w) of the image in pixels.

    Returns:
        (rows, columns) of the grid of patches.

    Raises:
        UserError: no square patches fill the image with so many tokens.
    """
    h, w = size
    for patches in (tokens - prefix for prefix in PREFIXES if tokens > prefix):
        side = math.isqrt(h * w // patches)
        if side and h % side == w % side == 0 and (h // side) * (w // side) == patches:
            return h // side, w // side
    raise UserError(
        f"{tokens} tokens are not the square patches of an image of {h} x {w}, with a class token or without"
    )
