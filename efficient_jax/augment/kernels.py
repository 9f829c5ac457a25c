"""What the operations share: pixels packed into integers, the loop that suits the platform, the bilinear resampler.

Up to four uint8 channels travel as one uint32 per pixel, the first channel in the lowest byte: one gather fetches
a whole pixel, and two channels are blended with one multiplication. Coordinates and weights are integers too, so
the pixels do not depend on how a compiler arranged the arithmetic around them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Int32, Shaped, UInt8, UInt32

from efficient_jax.types import UserError

Pixels = UInt32[Array, "h w"]
Matrix = Int32[Array, "2 3"]

EVEN = 0x00FF00FF  # bytes 0 and 2, each with room to be multiplied by 8 bits
_HALF = 0x00800080


def to_float(image: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """uint8 0..255 becomes float32 0..1; a float image stays as it is."""
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image


def to_uint8(image: Shaped[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """float 0..1 becomes uint8 0..255, clipped and rounded; a uint8 image stays as it is."""
    return image if image.dtype == jnp.uint8 else jnp.round(255 * jnp.clip(image, 0, 1)).astype(jnp.uint8)


def platform_loop(one: Callable, many: Callable | None = None) -> Callable:
    """`one(*trees)` with a batch rule of its own: on CPU a loop of `one`, elsewhere `many` (default: its vmap).

    XLA CPU recomputes cheap producers inside every consumer that it fuses. In a loop over images they are scalars
    and rows in cache; in a batched program they are whole arrays, and 2 to 6 times slower. And vmap(lax.switch)
    runs every branch for every image. `many` must give the same pixels as `one` does. Arguments and result are
    trees of arrays, an example say.
    """
    many = many or jax.vmap(one)

    @jax.custom_batching.custom_vmap
    @jax.jit  # keeps constants inside: as operands of a switch around it they would be batched
    def batch(*trees: Any) -> Any:
        return lax.platform_dependent(*trees, cpu=lambda *t: lax.map(lambda each: one(*each), t), default=many)

    @batch.def_vmap
    def merge_axes(size: int, is_batched: list, *trees: Any) -> tuple[Any, Any]:
        def merged(batched: bool, a: Array) -> Array:
            a = a if batched else jnp.broadcast_to(a, (size, *a.shape))
            return a.reshape(size * a.shape[1], *a.shape[2:])

        out = batch(*jax.tree.map(merged, tuple(is_batched), trees))
        split = jax.tree.map(lambda a: a.reshape(size, a.shape[0] // size, *a.shape[1:]), out)
        return split, jax.tree.map(lambda _: True, split)

    return lambda *trees: jax.tree.map(lambda a: a[0], batch(*jax.tree.map(lambda a: a[None], trees)))


def pack(image: UInt8[Array, "h w c"]) -> Pixels:
    """One uint32 per pixel, for at most four channels."""
    channels = image.shape[-1]
    if channels > 4:
        raise UserError(f"uint8 images are augmented with at most 4 channels, this one has {channels}: pass float32")
    if channels == 1:
        return image[..., 0].astype(jnp.uint32)
    padded = jnp.pad(image, ((0, 0), (0, 0), (0, 4 - channels)))
    return lax.bitcast_convert_type(padded, jnp.uint32)


def unpack(pixels: Pixels, channels: int) -> UInt8[Array, "h w c"]:
    if channels == 1:
        return pixels.astype(jnp.uint8)[..., None]
    return lax.bitcast_convert_type(pixels, jnp.uint8)[..., :channels]


def channel(pixels: Pixels, index: int) -> Int32[Array, "h w"]:
    return ((pixels >> (8 * index)) & 255).astype(jnp.int32)


def pack_planes(planes: list[Int32[Array, "h w"]]) -> Pixels:
    packed = planes[0].astype(jnp.uint32)
    for index, plane in enumerate(planes[1:], 1):
        packed |= plane.astype(jnp.uint32) << (8 * index)
    return packed


def gray_pixel(level: int, channels: int) -> int:
    """The packed pixel that has `level` in every channel."""
    return sum(level << (8 * index) for index in range(channels))


def look_up(pixels: Pixels, tables: Int[Array, "c 256"]) -> Pixels:
    """Every channel through its table, whose entries are in 0..255."""
    shifted = tables.astype(jnp.uint32) << (8 * jnp.arange(len(tables), dtype=jnp.uint32))[:, None]
    flat = lax.optimization_barrier(shifted.reshape(-1))  # else each pixel computes its entry anew
    out = flat.at[channel(pixels, 0)].get(mode="promise_in_bounds")
    for index in range(1, len(tables)):
        out |= flat.at[channel(pixels, index) + 256 * index].get(mode="promise_in_bounds")
    return out


def fraction_bits(height: int, width: int) -> int:
    """Bits behind the point of an integer matrix: as many as keep every coordinate inside int32."""
    return min(16, 27 - (height + width).bit_length())


def fixed_point(matrix: Float[Array, "2 3"], height: int, width: int) -> Matrix:
    """The integer form of an inverse warp; it zooms out at most 4 times and moves at most twice height + width."""
    limit = jnp.array([4.0, 4.0, 2.0 * (height + width)])
    return jnp.round(jnp.clip(matrix, -limit, limit) * 2 ** fraction_bits(height, width)).astype(jnp.int32)


def _coordinates(matrix: Matrix, height: int, width: int) -> tuple[Int32[Array, "h w"], Int32[Array, "h w"]]:
    """Where each output pixel looks: (x, y) with `fraction_bits + 1` bits behind the point.

    Points more than a pixel outside are moved onto the ring around the picture, where everything is fill.
    """
    bits = fraction_bits(height, width)
    across = 2 * jnp.arange(width, dtype=jnp.int32) - (width - 1)  # in half pixels from the centre: integers
    down = (2 * jnp.arange(height, dtype=jnp.int32) - (height - 1))[:, None]

    def along(row: Int32[Array, "3"], size: int) -> Int32[Array, "h w"]:
        position = row[0] * across + row[1] * down + (2 * row[2] + ((size - 1) << bits))
        return jnp.clip(position, -(2 << bits), size * (2 << bits) - 1)

    return along(matrix[0], width), along(matrix[1], height)


def _start(x: Int32[Array, "h w"], y: Int32[Array, "h w"], width: int, bits: int) -> Int32[Array, "h w"]:
    """The index of each point's upper left neighbour in a flat plane with a ring of one fill pixel around it."""
    return ((y >> bits) + 1) * (width + 2) + (x >> bits) + 1


def _taps(values: Shaped[Array, "n"], start: Int32[Array, "h w"], width: int) -> list[Shaped[Array, "h w"]]:
    return [values.at[start + tap].get(mode="promise_in_bounds") for tap in (0, 1, width + 2, width + 3)]


def _lerp(a: Pixels, b: Pixels, weight: UInt32[Array, "h w"], channels: int) -> Pixels:
    """`a + (b - a) * weight / 256`, rounded, in every byte; `weight` in 0..256."""
    even = ((a & EVEN) * (256 - weight) + (b & EVEN) * weight + _HALF) >> 8
    if channels == 1:
        return even & 255
    odd = ((a >> 8) & EVEN) * (256 - weight) + ((b >> 8) & EVEN) * weight + _HALF
    return (even & EVEN) | (odd & jnp.uint32(0xFF00FF00))


def resample(pixels: Pixels, matrix: Matrix, *, fill: int, channels: int) -> Pixels:
    """Bilinear inverse warp of packed pixels, for use inside a `platform_loop`; `fill` is a packed pixel."""
    height, width = pixels.shape
    bits = fraction_bits(height, width) + 1
    x, y = _coordinates(matrix, height, width)

    def weight(position: Int32[Array, "h w"]) -> UInt32[Array, "h w"]:
        fraction = position & ((1 << bits) - 1)
        return ((fraction + (1 << (bits - 9))) >> (bits - 8)).astype(jnp.uint32)

    ringed = jnp.pad(pixels, 1, constant_values=jnp.uint32(fill)).reshape(-1)
    start, across, down = lax.optimization_barrier((_start(x, y, width, bits), weight(x), weight(y)))
    a, b, c, d = lax.optimization_barrier(_taps(ringed, start, width))
    return _lerp(_lerp(a, b, across, channels), _lerp(c, d, across, channels), down, channels)


def _resample_float(plane: Float[Array, "h w"], matrix: Matrix, *, fill: float) -> Float[Array, "h w"]:
    height, width = plane.shape
    bits = fraction_bits(height, width) + 1
    x, y = _coordinates(matrix, height, width)
    across, down = ((position & ((1 << bits) - 1)).astype(plane.dtype) / (1 << bits) for position in (x, y))
    ringed = jnp.pad(plane, 1, constant_values=fill).reshape(-1)
    start, across, down = lax.optimization_barrier((_start(x, y, width, bits), across, down))
    a, b, c, d = lax.optimization_barrier(_taps(ringed, start, width))
    upper, lower = a + across * (b - a), c + across * (d - c)
    return upper + down * (lower - upper)


def warp(image: Shaped[Array, "h w c"], matrix: Float[Array, "2 3"], fill: float = 0.0) -> Shaped[Array, "h w c"]:
    """Bilinear inverse warp of a uint8 or float image, its dtype kept.

    `matrix` takes an output pixel to the point of the input that it shows, both as (x, y) in pixels from the
    centre of the picture, ((w - 1) / 2, (h - 1) / 2). Outside lies `fill`, in 0..1 for either dtype. The weights
    of uint8 images have 8 bits: the result is within 2 levels of exact arithmetic.
    """
    height, width, channels = image.shape
    fixed = fixed_point(matrix, height, width)
    if image.dtype == jnp.uint8:
        packed_fill = gray_pixel(round(255 * fill), channels)
        loop = platform_loop(partial(resample, fill=packed_fill, channels=channels))
        return unpack(loop(pack(image), fixed), channels)
    loop = platform_loop(partial(_resample_float, fill=fill))
    return jax.vmap(loop, in_axes=(2, None), out_axes=2)(image, fixed)
