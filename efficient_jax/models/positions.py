"""Positions of patches: an embedding that is resampled to another grid, and rotations of queries and keys."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from efficient_jax.errors import UserError

ROPE_BASE = 100.0  # DINOv3 (arXiv 2508.10104)
Angles = Float[np.ndarray, "m c"] | Float[Array, "*b m c"]
"""Of the patches of a grid, or for each image those of some of them."""


def resample_pos_embed(
    pos_embed: Float[Array, "1 n d"], grid: tuple[int, int], prefix: int = 1
) -> Float[Array, "1 m d"]:
    """Returns the position embedding of a square grid of patches, resampled to another grid.

    The interpolation is antialiased bicubic, as in timm: torch's `interpolate` with antialias=True, which has Keys'
    a = -0.5 as Pillow has (without antialias it has -0.75).

    Args:
        pos_embed: embedding of `prefix` tokens and then of a square grid of patches.
        grid: (rows, columns) of patches.
        prefix: tokens without a position in the grid (such as the class token), which stay.

    Returns: embedding of `prefix` + rows x columns tokens.

    Raises: UserError for positions that do not form a square grid.
    """
    tokens, table = pos_embed[:, :prefix], pos_embed[:, prefix:]
    side, d = math.isqrt(table.shape[1]), table.shape[2]
    if side * side != table.shape[1]:
        raise UserError(f"pos_embed: {table.shape[1]} positions after {prefix} prefix tokens are not a square grid")
    table = jax.image.resize(table.reshape(1, side, side, d), (1, *grid, d), "cubic")
    return jnp.concatenate([tokens, table.reshape(1, -1, d)], axis=1)


def rotary_angles(grid: tuple[int, int], channels: int) -> Float[np.ndarray, "n channels"]:
    """Returns the angles by which the patches of a grid rotate queries and keys (DINOv3, arXiv 2508.10104).

    Coordinates of patch centres are in -1..1 on both axes, whatever the number of patches.

    Args:
        grid: (rows, columns) of patches.
        channels: channels of a head, a multiple of 4: a quarter each for the vertical and the horizontal angle, twice.

    Returns: float32, in radians.

    Raises: UserError for channels that are not a multiple of 4.
    """
    if channels % 4:
        raise UserError(f"model.positions: 'rope' wants heads of a multiple of 4 channels, not {channels}")
    sides = [(np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(n) for n in grid]
    centres = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2) * np.float32(2.0) - np.float32(1.0)
    periods = np.float32(ROPE_BASE) ** (np.arange(channels // 4, dtype=np.float32) * np.float32(4.0 / channels))
    angles = np.float32(2.0 * math.pi) * centres[:, :, None] / periods
    return np.tile(angles.reshape(len(centres), -1), 2)


def sine_cosine(grid: tuple[int, int], width: int) -> Float[np.ndarray, "n width"]:
    """Returns the fixed position embedding of a grid of patches: sines and cosines of row and column, as MAE has them.

    Half of the channels belong to the column, the other half to the row; of each half the first half are sines, with
    periods of 2 pi to 2 pi 10,000 patches, the second half cosines (arXiv 2111.06377, its code).

    Args:
        grid: (rows, columns) of patches.
        width: number of channels, a multiple of 4.
    """
    rows, columns = np.indices(grid).reshape(2, -1)
    rates = 1e4 ** (-np.arange(width // 4) / (width // 4))
    halves = [np.outer(places, rates) for places in (columns, rows)]
    return np.concatenate([f(half) for half in halves for f in (np.sin, np.cos)], axis=1).astype(np.float32)


def rotate(x: Float[Array, "b n heads c"], angles: Angles) -> Float[Array, "b n heads c"]:
    """Returns queries or keys, those of patches rotated by the angles of their positions, computed in float32.

    Args:
        x: of all tokens; the last m are the patches.
        angles: as from `rotary_angles`, or for each image those of its patches.
    """
    prefix = x.shape[1] - angles.shape[-2]
    patches = x[:, prefix:].astype(jnp.float32)
    first, second = jnp.split(patches, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    numeric = np if isinstance(angles, np.ndarray) else jnp  # of numpy's they are constants of the program
    cos, sin = numeric.cos(angles)[..., None, :], numeric.sin(angles)[..., None, :]
    return jnp.concatenate([x[:, :prefix], (patches * cos + turned * sin).astype(x.dtype)], axis=1)
