"""Pixels packed into integers, and tables of their levels.

Up to four uint8 channels travel as one uint32 per pixel, the first channel in the lowest byte: one gather fetches
a whole pixel, and two channels are blended with one multiplication.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, Int32, UInt8, UInt32

from efficient_jax.augment.kernels.dtypes import Fill, fill_levels, require_image
from efficient_jax.errors import UserError

Pixels = UInt32[Array, "h w"]
EVEN = 0x00FF00FF  # bytes 0 and 2, each with room to be multiplied by 8 bits


def pack(image: UInt8[Array, "h w c"]) -> Pixels:
    """One uint32 per pixel, for at most four channels."""
    require_image({"image": image})
    height, width, channels = image.shape
    if channels > 4 or height * width > 2**24:
        raise UserError(f"this operation takes at most 4 channels and 2^24 pixels, not {height} x {width} x {channels}")
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


def fill_pixel(fill: Fill, channels: int) -> int:
    """`fill` as a packed pixel."""
    return sum(int(level) << (8 * index) for index, level in enumerate(fill_levels(fill, channels)))


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
