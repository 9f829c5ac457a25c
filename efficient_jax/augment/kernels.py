"""What the operations share: pixels packed into integers, and the bilinear resampler.

Up to four uint8 channels travel as one uint32 per pixel, the first channel in the lowest byte: one gather then
fetches a whole pixel, and two channels are blended with one multiplication. Coordinates are integers as well,
so that a picture does not depend on how the compiler arranged the arithmetic around it.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Int32, Shaped, UInt8, UInt32

from efficient_jax.types import UserError

Pixels = UInt32[Array, "h w"]
Coordinates = tuple[Int32[Array, "h w"], Int32[Array, "h w"]]

_EVEN = 0x00FF00FF  # bytes 0 and 2, with room to multiply each by 8 bits
_HALF = 0x00800080


def to_float(image: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """uint8 0..255 becomes float32 0..1; a float image stays as it is."""
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image


def to_uint8(image: Shaped[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """float 0..1 becomes uint8 0..255, rounded; a uint8 image stays as it is."""
    return image if image.dtype == jnp.uint8 else jnp.round(255 * jnp.clip(image, 0, 1)).astype(jnp.uint8)


def pack(image: UInt8[Array, "h w c"]) -> Pixels:
    """One uint32 per pixel, for at most four channels."""
    channels = image.shape[-1]
    if channels > 4:
        raise UserError(f"an image has {channels} channels: uint8 images are augmented with at most 4, pass float32")
    if channels == 1:
        return image[..., 0].astype(jnp.uint32)
    padded = jnp.pad(image, ((0, 0), (0, 0), (0, 4 - channels)))
    return lax.optimization_barrier(lax.bitcast_convert_type(padded, jnp.uint32))


def unpack(pixels: Pixels, channels: int) -> UInt8[Array, "h w c"]:
    if channels == 1:
        return pixels.astype(jnp.uint8)[..., None]
    # The barrier keeps the compiler from computing every pixel once per channel.
    return lax.bitcast_convert_type(lax.optimization_barrier(pixels), jnp.uint8)[..., :channels]


def channel(pixels: Pixels, index: int) -> Int32[Array, "h w"]:
    return ((pixels >> (8 * index)) & 255).astype(jnp.int32)


def pack_planes(planes: list[Int32[Array, "h w"]]) -> Pixels:
    packed = planes[0].astype(jnp.uint32)
    for index, plane in enumerate(planes[1:], 1):
        packed |= plane.astype(jnp.uint32) << (8 * index)
    return packed


def gray_pixel(level: int, channels: int) -> int:
    """A packed pixel that has `level` in every channel."""
    return sum(level << (8 * index) for index in range(channels))


def fraction_bits(height: int, width: int) -> int:
    """Bits behind the point of a fixed-point matrix: as many as leave every coordinate inside int32."""
    return min(16, 27 - (height + width).bit_length())


def fixed_point(matrix: Float[Array, "2 3"], height: int, width: int) -> Int32[Array, "2 3"]:
    """The integer form of an inverse warp. Zooms out at most 4 times, moves at most two picture sides."""
    limit = jnp.array([4.0, 4.0, 2.0 * (height + width)])
    return jnp.round(jnp.clip(matrix, -limit, limit) * 2 ** fraction_bits(height, width)).astype(jnp.int32)


def coordinates(matrix: Int32[Array, "2 3"], height: int, width: int) -> Coordinates:
    """Where each output pixel looks in the input: (x, y) with `fraction_bits + 1` bits behind the point.

    Points further than one pixel outside are moved onto the ring around the picture, where everything is fill.
    """
    bits = fraction_bits(height, width)
    across = 2 * jnp.arange(width, dtype=jnp.int32) - (width - 1)  # in half pixels from the centre: integers
    down = (2 * jnp.arange(height, dtype=jnp.int32) - (height - 1))[:, None]

    def along(row: Int32[Array, "3"], size: int) -> Int32[Array, "h w"]:
        position = row[0] * across + row[1] * down + (2 * row[2] + ((size - 1) << bits))
        unit = 2 << bits
        return jnp.clip(position, -unit, size * unit - 1)

    return along(matrix[0], width), along(matrix[1], height)


@jax.custom_batching.custom_vmap
def gather(values: Shaped[Array, "n"], index: Int32[Array, "k"]) -> Shaped[Array, "k"]:
    """`values[index]`, unchecked. A batch of these becomes one flat gather: XLA CPU's batched one is 7 times slower."""
    return values.at[index].get(mode="promise_in_bounds")


@gather.def_vmap
def _gather_batch(size: int, is_batched: list[bool], values: Array, index: Array) -> tuple[Array, bool]:
    if not is_batched[1]:
        index = jnp.broadcast_to(index, (size, *index.shape))
    if is_batched[0]:
        index = index + values.shape[1] * jnp.arange(size, dtype=jnp.int32)[:, None]
    return gather(values.reshape(-1), index.reshape(-1)).reshape(index.shape), True


def lerp(a: Pixels, b: Pixels, weight: UInt32[Array, "..."], channels: int) -> Pixels:
    """`a + (b - a) * weight / 256`, rounded, in every byte; `weight` in 0..256."""
    even = ((a & _EVEN) * (256 - weight) + (b & _EVEN) * weight + _HALF) >> 8
    if channels == 1:
        return even & 255
    odd = ((a >> 8) & _EVEN) * (256 - weight) + ((b >> 8) & _EVEN) * weight + _HALF
    return (even & _EVEN) | (odd & jnp.uint32(0xFF00FF00))


def resample(pixels: Pixels, matrix: Int32[Array, "2 3"], fill: int, channels: int) -> Pixels:
    """Bilinear inverse warp of packed pixels; `fill` is a packed pixel, blended with along the edges."""
    height, width = pixels.shape
    one = fraction_bits(height, width) + 1
    barrier = lax.optimization_barrier
    x, y = coordinates(matrix, height, width)
    start = ((y >> one) + 1) * (width + 2) + (x >> one) + 1

    def weight(position: Int32[Array, "h w"]) -> UInt32[Array, "h w"]:
        fraction = position & ((1 << one) - 1)
        return ((fraction + (1 << (one - 9))) >> (one - 8)).astype(jnp.uint32)

    # Fused, index map, gathers and blend are each recomputed by the next, in scalar code: 3 to 10 times slower.
    start, across, down = barrier((start.reshape(-1), weight(x), weight(y)))
    ringed = barrier(jnp.pad(pixels, 1, constant_values=jnp.uint32(fill)).reshape(-1))
    taps = [gather(ringed, start + tap).reshape(pixels.shape) for tap in (0, 1, width + 2, width + 3)]
    a, b, c, d = barrier(taps)
    return barrier(lerp(lerp(a, b, across, channels), lerp(c, d, across, channels), down, channels))


def _resample_float(image: Float[Array, "h w c"], matrix: Int32[Array, "2 3"], fill: float) -> Float[Array, "h w c"]:
    height, width, channels = image.shape
    one = fraction_bits(height, width) + 1
    x, y = coordinates(matrix, height, width)
    start = lax.optimization_barrier((((y >> one) + 1) * (width + 2) + (x >> one) + 1).reshape(-1))
    across, down = ((position & ((1 << one) - 1)).astype(image.dtype) / (1 << one) for position in (x, y))
    ringed = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=fill).reshape(-1, channels)

    def plane(values: Float[Array, "n"]) -> Float[Array, "h w"]:
        taps = [gather(values, start + tap).reshape(height, width) for tap in (0, 1, width + 2, width + 3)]
        a, b, c, d = lax.optimization_barrier(taps)
        upper, lower = a + across * (b - a), c + across * (d - c)
        return upper + down * (lower - upper)

    return jnp.stack([plane(ringed[:, index]) for index in range(channels)], axis=-1)


def warp(image: Shaped[Array, "h w c"], matrix: Float[Array, "2 3"], fill: float = 0.0) -> Shaped[Array, "h w c"]:
    """Bilinear inverse warp of a uint8 or float image, its dtype kept.

    `matrix` takes an output pixel to the input point it shows, both as (x, y) in pixels from the centre of the
    picture ((w - 1) / 2, (h - 1) / 2). Outside the picture lies `fill`, in 0..1 for either dtype. uint8 weights
    have 8 bits: the result is within 2 levels of exact arithmetic.
    """
    height, width, channels = image.shape
    fixed = fixed_point(matrix, height, width)
    if image.dtype != jnp.uint8:
        return _resample_float(image, fixed, fill)
    packed_fill = gray_pixel(round(255 * fill), channels)
    return unpack(resample(pack(image), fixed, packed_fill, channels), channels)


def look_up(pixels: Pixels, table: Int[Array, "c 256"]) -> Pixels:
    """Each channel through its own table; the entries are in 0..255."""
    return pack_planes([row.at[channel(pixels, i)].get(mode="promise_in_bounds") for i, row in enumerate(table)])
