"""RandAugment (arXiv 1909.13719): a few operations drawn at random, all at one strength."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int32, PRNGKeyArray

from efficient_jax import binding
from efficient_jax.augment import color, filters, kernels
from efficient_jax.augment.kernels import Matrix, Pixels
from efficient_jax.types import Example, UserError

MAX_LEVEL = 10
FULL = 1024  # a strength counts 1024ths of an operation's largest, negative for the opposite direction
Strength = Int32[Array, ""]

_ANGLES = np.radians(30) * np.arange(-FULL, FULL + 1) / FULL
_COS_SIN = np.round(2**16 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)).astype(np.int32)


def _rotate(strength: Strength, height: int, width: int) -> Matrix:
    """Up to 30 degrees."""
    cos, sin = jnp.asarray(_COS_SIN)[strength + FULL] >> (16 - kernels.fraction_bits(height, width))
    return jnp.stack([cos, -sin, jnp.int32(0), sin, cos, jnp.int32(0)]).reshape(2, 3)


def _shear(strength: Strength, height: int, width: int, *, row: int) -> Matrix:
    """Up to 0.3 pixels per pixel."""
    matrix = _unchanged(height, width)
    return matrix.at[row, 1 - row].set(strength * round(0.3 * _one(height, width)) // FULL)


def _translate(strength: Strength, height: int, width: int, *, row: int) -> Matrix:
    """Up to 0.45 of the side, in whole pixels."""
    pixels = (strength * round(0.45 * (width, height)[row]) + FULL // 2) // FULL
    return _unchanged(height, width).at[row, 2].set(pixels * _one(height, width))


def _one(height: int, width: int) -> int:
    return 1 << kernels.fraction_bits(height, width)


def _unchanged(height: int, width: int) -> Matrix:
    return jnp.eye(2, 3, dtype=jnp.int32) * _one(height, width)


def _factor(strength: Strength) -> Int32[Array, ""]:
    """0.1 to 1.9."""
    return color.ONE + strength * round(0.9 * color.ONE) // FULL


GEOMETRY: dict[str, Callable[[Strength, int, int], Matrix]] = {
    "rotate": _rotate,
    "shear_x": partial(_shear, row=0),
    "shear_y": partial(_shear, row=1),
    "translate_x": partial(_translate, row=0),
    "translate_y": partial(_translate, row=1),
}
TABLES = ("autocontrast", "equalize", "brightness", "contrast", "posterize", "solarize")
REFERENCES = ("color", "sharpness")
OPS = ("identity", *GEOMETRY, *TABLES, *REFERENCES)


def _tables(name: str, strength: Strength, pixels: Pixels, channels: int) -> color.Tables:
    if name == "autocontrast":
        return color.autocontrast_tables(pixels, channels)
    if name == "equalize":
        return color.equalize_tables(pixels, channels)
    if name == "brightness":
        table = color.brightness_table(_factor(strength))
    elif name == "contrast":
        table = color.contrast_table(color.mean_level(pixels, channels), _factor(strength))
    elif name == "posterize":
        table = color.posterize_table(8 - (abs(strength) + 128) // 256)  # 8 bits to 4
    else:
        table = color.solarize_table(256 - abs(strength) // 4)
    return jnp.broadcast_to(table, (channels, 256))


def _reference(name: str, pixels: Pixels, channels: int) -> Pixels:
    return color.gray(pixels, channels) if name == "color" else filters.smooth(pixels)


def randaugment(
    key: PRNGKeyArray,
    example: Example,
    *,
    layers: int = 2,
    magnitude: float = 9.0,
    magnitude_std: float = 0.0,
    ops: tuple[str, ...] = OPS,
    fill: float = 0.0,
) -> Example:
    """`layers` times: one of `ops` at `magnitude`, each image with draws of its own.

    magnitude: 0 (nothing changes, but for autocontrast and equalize) to MAX_LEVEL = 10 (the largest change), for
    every operation; the sign is drawn. The paper's and torchvision's scale ends at 30, timm's at 10.
    magnitude_std: standard deviation of normal noise on it, afterwards clipped to the scale.
    fill: what lies outside the picture, in 0..1.

    Largest changes: rotate 30 degrees, shear 0.3, translate 0.45 of the side, factors 0.1 and 1.9 (brightness,
    contrast, color, sharpness), posterize to 4 bits, solarize everything. Geometry is about the centre. Float
    images are rounded to 256 levels. Where a picture has one channel, `color` changes nothing.
    """
    if not 0 <= magnitude <= MAX_LEVEL:
        raise UserError(f"randaugment: magnitude {magnitude} is not in 0..{MAX_LEVEL}; of a scale to 30, take a third")
    if layers < 0 or magnitude_std < 0:
        raise UserError("randaugment: layers and magnitude_std are not negative")
    if not ops:
        raise UserError("randaugment: ops is empty; layers = 0 switches it off")
    for name in ops:
        binding.choose(name, dict.fromkeys(OPS), "randaugment.ops")
    image = example["image"]
    if layers == 0:
        return example
    which, sign = jax.random.uniform(key, (2, layers))
    drawn = (which * len(ops)).astype(jnp.int32)
    level = jnp.full(layers, magnitude, jnp.float32)
    if magnitude_std:
        level += magnitude_std * jax.random.normal(jax.random.fold_in(key, 1), (layers,))
    strength = jnp.round(jnp.clip(level / MAX_LEVEL, 0, 1) * FULL).astype(jnp.int32)
    strength = jnp.where(sign < 0.5, -strength, strength)

    height, width, channels = image.shape
    settings: dict[str, Any] = {
        "ops": ops,
        "fill": kernels.gray_pixel(round(255 * fill), channels),
        "channels": channels,
    }
    matrices = jax.vmap(lambda op, amount: _matrix(ops, op, amount, height, width))(drawn, strength)
    apply = kernels.platform_loop(partial(_switch, **settings), jax.vmap(partial(_branchless, **settings)))
    pixels = apply(kernels.pack(kernels.to_uint8(image)), drawn, strength, matrices)
    out = kernels.unpack(pixels, channels)
    return example | {"image": out if image.dtype == jnp.uint8 else kernels.to_float(out).astype(image.dtype)}


def _select(ops: tuple[str, ...], drawn: Array, options: dict[str, Array], otherwise: Array) -> Array:
    """The option of the operation that was drawn, where it has one."""
    for name, value in options.items():
        otherwise = jnp.where(drawn == ops.index(name), value, otherwise)
    return otherwise


def _matrix(ops: tuple[str, ...], drawn: Array, strength: Strength, height: int, width: int) -> Matrix:
    options = {name: GEOMETRY[name](strength, height, width) for name in GEOMETRY if name in ops}
    return _select(ops, drawn, options, _unchanged(height, width))


def _switch(
    pixels: Pixels,
    drawn: Int32[Array, "layers"],
    strength: Int32[Array, "layers"],
    matrices: Int32[Array, "layers 2 3"],
    *,
    ops: tuple[str, ...],
    fill: int,
    channels: int,
) -> Pixels:
    """Runs what was drawn and nothing else. Under vmap a switch would run everything: see `platform_loop`."""

    def branch(name: str) -> Callable[[Pixels, Strength, Matrix], Pixels]:
        def run(pixels: Pixels, strength: Strength, matrix: Matrix) -> Pixels:
            if name in GEOMETRY:
                return kernels.resample(pixels, matrix, fill=fill, channels=channels)
            if name in TABLES:
                return kernels.look_up(pixels, _tables(name, strength, pixels, channels))
            if name in REFERENCES:
                return color.blend(_reference(name, pixels, channels), pixels, _factor(strength), channels)
            return pixels

        return run

    for layer in range(len(drawn)):
        branches = [branch(name) for name in ops]
        pixels = lax.switch(drawn[layer], branches, pixels, strength[layer], matrices[layer])
    return pixels


def _branchless(
    pixels: Pixels,
    drawn: Int32[Array, "layers"],
    strength: Int32[Array, "layers"],
    matrices: Int32[Array, "layers 2 3"],
    *,
    ops: tuple[str, ...],
    fill: int,
    channels: int,
) -> Pixels:
    """The same pixels without a branch: each layer is one resample, one table and one blend, two of them idle."""
    unchanged = jnp.broadcast_to(color.LEVELS, (channels, 256))
    for op, amount, matrix in zip(drawn, strength, matrices, strict=True):
        pixels = kernels.resample(pixels, matrix, fill=fill, channels=channels)
        tables = {name: _tables(name, amount, pixels, channels) for name in TABLES if name in ops}
        pixels = kernels.look_up(pixels, _select(ops, op, tables, unchanged))
        references = {name: _reference(name, pixels, channels) for name in REFERENCES if name in ops}
        pixels = color.blend(_select(ops, op, references, pixels), pixels, _factor(amount), channels)
    return pixels
