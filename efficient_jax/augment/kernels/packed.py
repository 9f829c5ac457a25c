"""Pixels packed into integers, and tables of their levels.

Up to four uint8 channels travel as one uint32 per pixel, the first channel in the lowest byte: one gather fetches
a whole pixel, and two channels are blended with one multiplication.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, Int32, UInt8, UInt32

from efficient_jax.augment.kernels.barrier import barrier
from efficient_jax.augment.kernels.dtypes import Fill, fill_levels, require_image
from efficient_jax.errors import UserError

Pixels = UInt32[Array, "h w"]
EVEN = 0x00FF00FF  # bytes 0 and 2, each with room to be multiplied by 8 bits


def pack(image: UInt8[Array, "h w c"]) -> Pixels:
    """Returns one uint32 per pixel, the first channel in the lowest byte.

    Args:
        image: uint8 of at most four channels and 2^24 pixels.

    Returns: packed pixels [h w].

    Raises: UserError for more channels or pixels, and for what is not an image.
    """
    require_image({"image": image})
    height, width, channels = image.shape
    if channels > 4 or height * width > 2**24:
        raise UserError(f"this operation takes at most 4 channels and 2^24 pixels, not {height} x {width} x {channels}")
    if channels == 1:
        return image[..., 0].astype(jnp.uint32)
    padded = jnp.pad(image, ((0, 0), (0, 0), (0, 4 - channels)))
    return lax.bitcast_convert_type(padded, jnp.uint32)


def unpack(pixels: Pixels, channels: int) -> UInt8[Array, "h w c"]:
    """Returns packed pixels as an image.

    Args:
        pixels: packed pixels [h w].
        channels: channels of the image, in 1..4.

    Returns: uint8 [h w c].
    """
    if channels == 1:
        return pixels.astype(jnp.uint8)[..., None]
    return lax.bitcast_convert_type(pixels, jnp.uint8)[..., :channels]


def channel(pixels: Pixels, index: int) -> Int32[Array, "h w"]:
    """Returns one channel of packed pixels.

    Args:
        pixels: packed pixels [h w].
        index: of the channel, in 0..3.

    Returns: int32 levels [h w] in 0..255.
    """
    return ((pixels >> (8 * index)) & 255).astype(jnp.int32)


def pack_planes(planes: list[Int32[Array, "h w"]]) -> Pixels:
    """Returns channels as packed pixels.

    Args:
        planes: levels of one to four channels, in 0..255.

    Returns: packed pixels [h w].
    """
    packed = planes[0].astype(jnp.uint32)
    for index, plane in enumerate(planes[1:], 1):
        packed |= plane.astype(jnp.uint32) << (8 * index)
    return packed


def fill_pixel(fill: Fill, channels: int) -> int:
    """Returns `fill` as a packed pixel.

    Args:
        fill: one level in 0..1, or one for each channel.
        channels: channels of the image, in 1..4.

    Returns: a uint32 value.

    Raises: UserError for a fill outside 0..1, and for another number of levels than there are channels.
    """
    return sum(int(level) << (8 * index) for index, level in enumerate(fill_levels(fill, channels)))


def gray_pixel(level: int, channels: int) -> int:
    """Returns the packed pixel that has `level` in every channel.

    Args:
        level: in 0..255.
        channels: channels of the image, in 1..4.

    Returns: a uint32 value.
    """
    return sum(level << (8 * index) for index in range(channels))


def look_up(pixels: Pixels, tables: Int[Array, "c 256"]) -> Pixels:
    """Sends every channel through its table.

    Args:
        pixels: packed pixels [h w].
        tables: new level, in 0..255, of each old level, for each channel.

    Returns: packed pixels [h w].
    """
    shifted = tables.astype(jnp.uint32) << (8 * jnp.arange(len(tables), dtype=jnp.uint32))[:, None]
    flat = barrier(shifted.reshape(-1))  # else each pixel computes its entry anew
    out: Array = flat.at[channel(pixels, 0)].get(mode="promise_in_bounds")
    for index in range(1, len(tables)):
        out |= flat.at[channel(pixels, index) + 256 * index].get(mode="promise_in_bounds")
    return out
