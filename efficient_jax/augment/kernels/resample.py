"""Resamplers: each output pixel looks at a point of the input, bilinear for images, nearest for masks.

Coordinates and weights are integers, so the pixels do not depend on how a compiler arranged the arithmetic around
them. An affine change (`warp`), a grid of rows and columns (`stretch`) and a point for each pixel (`warp_to`) are
three forms of one thing, each as fast as it can be. Positions are (x, y), in pixels from the center of an image,
((w - 1) / 2, (h - 1) / 2), for matrices, and from the center of the upper left pixel for single points.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Shaped, UInt32

from efficient_jax.augment.kernels import dtypes, loops
from efficient_jax.augment.kernels.barrier import barrier
from efficient_jax.augment.kernels.dtypes import Fill
from efficient_jax.augment.kernels.packed import EVEN, Pixels, fill_pixel, pack, unpack
from efficient_jax.augment.kernels.positions import (
    BORDERS,
    POINT_BITS,
    Matrix,
    Position,
    Size,
    affine_positions,
    fixed_point,
    fixed_points,
    fraction_bits,
    from_corner,
    onto_ring,
)
from efficient_jax.settings import choose

Resampled = UInt32[Array, "h2 w2"]  # packed pixels that show positions in others

_HALF = 0x00800080


def _start(x: Position, y: Position, width: int, bits: int) -> Position:
    """Returns the index of each point's upper left neighbour in a flat plane with a ring of fill pixels around it."""
    return ((y >> bits) + 1) * (width + 2) + (x >> bits) + 1


def _taps(values: Shaped[Array, " n"], start: Position, width: int) -> list[Shaped[Array, "h2 w2"]]:
    return [values.at[start + tap].get(mode="promise_in_bounds") for tap in (0, 1, width + 2, width + 3)]


def weight(position: Int32[Array, " *shape"], bits: int) -> UInt32[Array, " *shape"]:
    """Returns the fraction of a position, rounded to 0..256.

    Args:
        position: integers with `bits` bits behind the point.
        bits: 9 or more.

    Returns: uint32 in the same shape.
    """
    fraction = position & ((1 << bits) - 1)
    return ((fraction + (1 << (bits - 9))) >> (bits - 8)).astype(jnp.uint32)


def lerp(a: Pixels, b: Pixels | UInt32[Array, ""], weight: UInt32[Array, " ..."], channels: int) -> Pixels:
    """Returns `a + (b - a) * weight / 256`, rounded, in every byte.

    Args:
        a, b: packed pixels; `b` may be one for all.
        weight: of `b`, in 0..256; it broadcasts to the pixels.
        channels: channels of the pixels, in 1..4.

    Returns: packed pixels.
    """
    even = ((a & EVEN) * (256 - weight) + (b & EVEN) * weight + _HALF) >> 8
    if channels == 1:
        return even & 255
    odd = ((a >> 8) & EVEN) * (256 - weight) + ((b >> 8) & EVEN) * weight + _HALF
    pixels: Pixels = (even & EVEN) | (odd & jnp.uint32(0xFF00FF00))
    return pixels


def _bilinear(pixels: Pixels, x: Position, y: Position, bits: int, fill: int, channels: int) -> Resampled:
    width = pixels.shape[1]
    ringed = jnp.pad(pixels, 1, constant_values=jnp.uint32(fill)).reshape(-1)
    start, across, down = barrier((_start(x, y, width, bits), weight(x, bits), weight(y, bits)))
    a, b, c, d = barrier(_taps(ringed, start, width))
    return lerp(lerp(a, b, across, channels), lerp(c, d, across, channels), down, channels)


def _bilinear_float(plane: Float[Array, "h w"], x: Position, y: Position, bits: int, fill: Array) -> Array:
    width = plane.shape[1]
    across, down = ((position & ((1 << bits) - 1)).astype(plane.dtype) / (1 << bits) for position in (x, y))
    ringed = jnp.pad(plane, 1, constant_values=fill).reshape(-1)
    start, across, down = barrier((_start(x, y, width, bits), across, down))
    a, b, c, d = barrier(_taps(ringed, start, width))
    upper, lower = a + across * (b - a), c + across * (d - c)
    return upper + down * (lower - upper)


def resample(
    pixels: Pixels,
    matrix: Matrix,
    *,
    fill: int,
    channels: int,
    size: Size | None = None,
    border: str = "constant",
) -> Resampled:
    """Returns a bilinear inverse warp of packed pixels, for use inside a `platform_loop`.

    Args:
        pixels: packed pixels [h w].
        matrix: inverse warp from `fixed_point`.
        fill: packed pixel that lies outside where `border` is constant.
        channels: channels of the pixels, in 1..4.
        size: (height, width) of the output; None keeps the size.
        border: one of BORDERS.

    Returns: packed pixels of `size`.
    """
    size = size or pixels.shape
    bits = fraction_bits(pixels.shape, size) + 1
    return _bilinear(pixels, *affine_positions(matrix, pixels.shape, size, border), bits, fill, channels)


def _resample_float(
    plane: Float[Array, "h w"], matrix: Matrix, fill: Float[Array, ""], *, size: Size, border: str
) -> Float[Array, "h2 w2"]:
    bits = fraction_bits(plane.shape, size) + 1
    return _bilinear_float(plane, *affine_positions(matrix, plane.shape, size, border), bits, fill)


def warp(
    image: Shaped[Array, "h w c"],
    inverse: Float[Array, "2 3"],
    fill: Fill = 0.0,
    size: Size | None = None,
    border: str = "constant",
) -> Shaped[Array, "h2 w2 c"]:
    """Returns a bilinear inverse warp of a uint8 or float image.

    The weights of uint8 images have 8 bits: the result is within 2 levels of exact arithmetic.

    Args:
        image: [h w c].
        inverse: takes a point of the output (x, y, 1) to the point of the input that it shows, both in pixels from the
            center of their image; within the limits of `fixed_point`.
        fill: level outside where `border` is constant, in 0..1 for either dtype, one level or one for each channel.
        size: (height, width) of the output; None keeps the size.
        border: one of BORDERS.

    Returns: the image of `size`, its dtype kept.

    Raises: UserError for an unknown border, and for a fill outside 0..1.
    """
    size = size or image.shape[:2]
    matrix = fixed_point(inverse, image.shape[:2], size)
    return _each_plane(image, matrix, fill, resample, _resample_float, size=size, border=_known(border))


def _known(border: str) -> str:
    return choose(border, dict(zip(BORDERS, BORDERS, strict=True)), "border")


def warp_to(
    image: Shaped[Array, "h w c"],
    x: Float[Array, "h2 w2"],
    y: Float[Array, "h2 w2"],
    fill: Fill = 0.0,
    border: str = "constant",
) -> Shaped[Array, "h2 w2 c"]:
    """Returns an image of which each pixel shows its own point of the input; bilinear.

    Args:
        image: [h w c].
        x, y: the point that output pixel (i, j) shows, in pixels from the center of the upper left pixel.
        fill: level outside where `border` is constant, in 0..1, one level or one for each channel.
        border: one of BORDERS.

    Returns: the image, its dtype kept.

    Raises: UserError for an unknown border, and for a fill outside 0..1.
    """

    def packed(pixels: Pixels, points: Int32[Array, "2 h2 w2"], *, fill: int, channels: int) -> Resampled:
        return _bilinear(pixels, points[0], points[1], POINT_BITS, fill, channels)

    def plane(values: Float[Array, "h w"], points: Int32[Array, "2 h2 w2"], fill: Float[Array, ""]) -> Array:
        return _bilinear_float(values, points[0], points[1], POINT_BITS, fill)

    height, width = image.shape[:2]
    points = jnp.stack([fixed_points(x, width, _known(border)), fixed_points(y, height, border)])
    return _each_plane(image, points, fill, packed, plane)


def _each_plane(
    image: Shaped[Array, "h w c"],
    how: Array,
    fill: Fill,
    packed: Callable[..., Array],
    plane: Callable[..., Array],
    **settings: Any,
) -> Shaped[Array, "h2 w2 c"]:
    """Sends uint8 pixels whole through `packed`, and float channels one by one through `plane`."""
    channels = image.shape[-1]
    levels = cast(list[float], dtypes.fill_levels(fill, channels, jnp.float32))
    if image.dtype == jnp.uint8 and channels > 4:
        parts = ((image[..., i : i + 4], tuple(levels[i : i + 4])) for i in range(0, channels, 4))
        planes = [_each_plane(part, how, of_part, packed, plane, **settings) for part, of_part in parts]
        return jnp.concatenate(planes, axis=-1)
    if image.dtype == jnp.uint8:
        pixel = fill_pixel(fill, channels)
        loop = loops.platform_loop(partial(packed, fill=pixel, channels=channels, **settings))
        return unpack(loop(pack(image), how), channels)
    loop = loops.platform_loop(partial(plane, **settings))
    return jax.vmap(loop, in_axes=(2, None, 0), out_axes=2)(image, how, jnp.asarray(levels, image.dtype))


def nearest(
    mask: Shaped[Array, "h w"], inverse: Float[Array, "2 3"], size: Size | None = None
) -> Shaped[Array, "h2 w2"]:
    """Returns the inverse warp of `warp` for values that cannot be mixed: the pixel that holds the point, 0 outside.

    Args:
        mask: [h w].
        inverse: takes a point of the output to the point of the input, in pixels from the center.
        size: (height, width) of the output; None keeps the size.

    Returns: the mask of `size`, its dtype kept.
    """
    size = size or mask.shape
    bits = fraction_bits(mask.shape, size)

    def one(mask: Shaped[Array, "h w"], matrix: Matrix) -> Shaped[Array, "h2 w2"]:
        columns, rows = jnp.arange(size[1]), jnp.arange(size[0])[:, None]
        positions = (row[0] * columns + row[1] * rows + row[2] for row in matrix)
        x, y = (onto_ring(p, length, bits) for p, length in zip(positions, mask.shape[::-1], strict=True))
        return _pick(mask, x, y, bits)

    return loops.platform_loop(one)(mask, from_corner(inverse, mask.shape, size))


def nearest_to(
    mask: Shaped[Array, "h w"], x: Float[Array, "h2 w2"], y: Float[Array, "h2 w2"]
) -> Shaped[Array, "h2 w2"]:
    """Returns the resample of `warp_to` for values that cannot be mixed: the pixel that holds the point, 0 outside.

    Args:
        mask: [h w].
        x, y: the point that output pixel (i, j) shows, in pixels from the center of the upper left pixel.

    Returns: the mask, its dtype kept.
    """
    return _pick(mask, fixed_points(x, mask.shape[1]), fixed_points(y, mask.shape[0]), POINT_BITS)


def _pick(mask: Shaped[Array, "h w"], x: Position, y: Position, bits: int) -> Shaped[Array, "h2 w2"]:
    half = 1 << (bits - 1)
    ringed = jnp.pad(mask, 1).reshape(-1)
    start = barrier(_start(x + half, y + half, mask.shape[1], bits))
    return ringed.at[start].get(mode="promise_in_bounds")


def stretch(image: Shaped[Array, "h w c"], y: Float[Array, " h2"], x: Float[Array, " w2"]) -> Shaped[Array, "h2 w2 c"]:
    """Returns an image of which pixel (i, j) shows the point (x[j], y[i]); bilinear.

    Points outside show the nearest pixel of the border. It takes two taps down, then two across, where a warp takes
    four.

    Args:
        image: [h w c].
        y, x: in pixels from the center of the upper left pixel.

    Returns: the image, its dtype kept.
    """
    height, width, channels = image.shape
    if image.dtype == jnp.uint8 and channels > 4:
        return jnp.concatenate([stretch(image[..., i : i + 4], y, x) for i in range(0, channels, 4)], axis=-1)

    def fixed(points: Float[Array, " n"], length: int) -> Int32[Array, " n"]:
        return jnp.round(jnp.clip(points, 0.0, length - 1.0) * (1 << POINT_BITS)).astype(jnp.int32)

    def neighbours(position: Int32[Array, " n"], length: int) -> tuple[Array, Array]:
        first = position >> POINT_BITS
        return first, jnp.minimum(first + 1, length - 1)

    def packed(pixels: Pixels, down: Int32[Array, " h2"], across: Int32[Array, " w2"]) -> Resampled:
        upper, lower = (pixels.at[i].get(mode="promise_in_bounds") for i in neighbours(down, height))
        lines = barrier(lerp(upper, lower, weight(down, POINT_BITS)[:, None], channels))
        columns = [lines.at[:, i].get(mode="promise_in_bounds") for i in neighbours(across, width)]
        left, right = barrier(columns)
        return barrier(lerp(left, right, weight(across, POINT_BITS), channels))

    down, across = fixed(y, height), fixed(x, width)
    if image.dtype == jnp.uint8:
        return unpack(loops.platform_loop(packed)(pack(image), down, across), channels)

    def fraction(position: Int32[Array, " n"]) -> Float[Array, "n 1"]:
        return (position & ((1 << POINT_BITS) - 1)).astype(image.dtype)[:, None] / (1 << POINT_BITS)

    upper, lower = (image[i] for i in neighbours(down, height))
    lines = upper + fraction(down)[:, None] * (lower - upper)
    left, right = (lines[:, i] for i in neighbours(across, width))
    return left + fraction(across) * (right - left)
