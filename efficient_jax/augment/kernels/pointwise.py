"""Arithmetic on levels and channels: blends, luma, hue, and tables of levels.

Levels are in 0..255: int32 ones of a uint8 image, float32 ones of a float image. With integers the arithmetic is
exactly Pillow's (ImageEnhance, ImageOps), compiled in whichever way: a factor counts 1024ths, for which Pillow's
float32 arithmetic is exact too. With floats the formulas are the same and nothing is rounded.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Num

from efficient_jax.augment.kernels import packed
from efficient_jax.augment.kernels.barrier import barrier
from efficient_jax.augment.kernels.packed import Pixels, channel
from efficient_jax.errors import UserError

ONE = 1024  # the factor that changes nothing
SIXTH = 1 << 16  # a sixth of the color circle
Integer = Int32[Array, ""]
Table = Int32[Array, " 256"]
Tables = Int32[Array, "c 256"]
Levels = Num[Array, " ..."]  # int32 or float32
AnyPixels = Pixels | Float[Array, "h w c"]  # packed pixels of a uint8 image, or a float image

LEVELS = np.arange(256, dtype=np.int32)


def planes(image: AnyPixels, channels: int) -> list[Levels]:
    """Returns the levels of each channel.

    Args:
        image: packed pixels, or float [h w c] in 0..1.
        channels: channels of the image.

    Returns: [h w] each on the scale 0..255, int32 of packed pixels, else float.
    """
    if image.dtype == jnp.uint32:
        return [channel(image, i) for i in range(channels)]
    return [255 * image[..., i] for i in range(channels)]


def from_planes(levels: list[Levels]) -> AnyPixels:
    """Returns the image that has these levels, the inverse of `planes`.

    Args:
        levels: [h w] of each channel on the scale 0..255, int32 or float.

    Returns: packed pixels of int32 levels, float [h w c] in 0..1 of float ones.
    """
    return packed.pack_planes(levels) if levels[0].dtype == jnp.int32 else jnp.stack(levels, axis=-1) / 255


def _shift_down(x: Num[Array, " ..."], bits: int, *, half: bool = False) -> Num[Array, " ..."]:
    """Returns `x / 2**bits`; integers are rounded down, with `half` to the nearest."""
    if x.dtype != jnp.int32:
        divisor: int = 2**bits
        return x / divisor
    return (x + (half << (bits - 1))) >> bits


def over_pixels(reduction: Callable[..., Array], levels: Levels) -> Levels:
    """Reduces the first two axes, one after the other.

    XLA CPU takes row by row twice as fast as pixel by pixel, but would merge the two reductions.

    Args:
        reduction: takes an array and an `axis`, such as jnp.max.
        levels: [h w ...].

    Returns: the reduced array, without these axes.
    """
    return reduction(barrier(reduction(levels, axis=0)), axis=0)


def blend_levels(reference: Levels | int, levels: Levels, factor: Num[Array, ""]) -> Levels:
    """Returns `reference + factor * (levels - reference)`, rounded down as Pillow does, clipped to 0..255.

    Args:
        reference: levels that a factor of 0 gives.
        levels: levels that a factor of ONE keeps.
        factor: in 1024ths, 0 or more; int32 for int32 levels.

    Returns: levels; float ones are clipped, not rounded.
    """
    return jnp.clip(_shift_down(reference * ONE + factor * (levels - reference), 10), 0, 255)


def blend_planes(references: list[Levels | int], image: AnyPixels, factor: Num[Array, ""]) -> AnyPixels:
    """Moves each channel away from (factor > ONE) or towards (factor < ONE) its reference levels.

    Args:
        references: reference levels of each channel.
        image: packed pixels, or float [h w c] in 0..1.
        factor: in 1024ths, 0 or more.

    Returns: the changed image, in the form of `image`.
    """
    levels = planes(image, len(references))
    return from_planes([blend_levels(r, x, factor) for r, x in zip(references, levels, strict=True)])


def blend(reference: Pixels, pixels: Pixels, factor: Integer, channels: int) -> Pixels:
    """Moves each channel away from (factor > ONE) or towards (factor < ONE) a reference image.

    Args:
        reference, pixels: packed pixels [h w].
        factor: in 1024ths, 0 or more.
        channels: channels of the images, in 1..4.

    Returns: packed pixels [h w].
    """
    return blend_planes([*planes(reference, channels)], pixels, factor)


def _red_green_blue(image: AnyPixels, channels: int) -> list[Levels]:
    if channels != 3:
        raise UserError(f"color operations take 1 or 3 channels, this image has {channels}")
    return planes(image, channels)


def luma(image: AnyPixels, channels: int) -> Levels:
    """Returns Pillow's convert("L"): ITU-R 601-2, integers rounded.

    Args:
        image: packed pixels, or float [h w c] in 0..1.
        channels: 1 or 3.

    Returns: levels [h w] on the scale 0..255.

    Raises: UserError for another number of channels.
    """
    if channels == 1:
        return planes(image, 1)[0]
    red, green, blue = _red_green_blue(image, channels)
    return _shift_down(19595 * red + 38470 * green + 7471 * blue, 16, half=True)


def gray(image: AnyPixels, channels: int) -> AnyPixels:
    """Returns the luma in every channel, the reference of `color` (saturation).

    Args:
        image: packed pixels, or float [h w c] in 0..1.
        channels: 1 or 3; an image of one channel is its own gray.

    Returns: the gray image, in the form of `image`.

    Raises: UserError for another number of channels.
    """
    return from_planes([luma(image, channels)] * channels)


def mean_level(image: AnyPixels, channels: int) -> Num[Array, ""]:
    """Returns the mean luma, the reference of `contrast`; that of integers is rounded.

    Args:
        image: packed pixels, or float [h w c] in 0..1.
        channels: 1 or 3.

    Returns: a scalar on the scale 0..255.

    Raises: UserError for another number of channels.
    """
    levels = luma(image, channels)
    if levels.dtype != jnp.int32:
        return jnp.mean(levels)
    total = over_pixels(jnp.sum, levels.astype(jnp.uint32))  # room for 2**24 pixels
    return ((total + levels.size // 2) // levels.size).astype(jnp.int32)


def turn_hue(image: AnyPixels, turn: Num[Array, ""], channels: int) -> AnyPixels:
    """Adds `turn` to the hue of HSV; integers are rounded to the nearest level.

    A turn keeps value and chroma, so hue times chroma is all that is needed, and nothing is divided by the chroma.

    Args:
        image: packed pixels, or float [h w c] in 0..1.
        turn: in 65536ths of a sixth of the color circle (SIXTH), at most 3 SIXTHs either way.
        channels: 1 or 3; an image of one channel stays as it is.

    Returns: the changed image, in the form of `image`.

    Raises: UserError for another number of channels.
    """
    if channels == 1:
        return image
    red, green, blue = _red_green_blue(image, channels)
    value = jnp.maximum(jnp.maximum(red, green), blue)
    darkest = jnp.minimum(jnp.minimum(red, green), blue)
    chroma = value - darkest
    # Counted in sixths, red is at 0 (and 6), green at 2, blue at 4.
    blue_or_green = jnp.where(value == green, 2 * chroma + blue - red, 4 * chroma + red - green)
    hue = SIXTH * jnp.where(value == red, green - blue, blue_or_green) + turn * chroma
    chroma = SIXTH * chroma
    hue = jnp.where(hue < 0, hue + 6 * chroma, jnp.where(hue > 6 * chroma, hue - 6 * chroma, hue))
    above_darkest = (
        jnp.abs(hue - 3 * chroma) - chroma,
        2 * chroma - jnp.abs(hue - 2 * chroma),
        2 * chroma - jnp.abs(hue - 4 * chroma),
    )
    return from_planes([_shift_down(SIXTH * darkest + jnp.clip(x, 0, chroma), 16, half=True) for x in above_darkest])


def brightness_table(factor: Integer) -> Table:
    """Returns the table that multiplies levels by a factor.

    Args:
        factor: in 1024ths, 0 or more.

    Returns: the new level of each level.
    """
    return blend_levels(0, jnp.asarray(LEVELS), factor)


def contrast_table(mean: Integer, factor: Integer) -> Table:
    """Returns the table that multiplies the distance of levels from the mean by a factor.

    Args:
        mean: level in 0..255, see `mean_level`.
        factor: in 1024ths, 0 or more.

    Returns: the new level of each level.
    """
    return blend_levels(mean, jnp.asarray(LEVELS), factor)


def posterized(levels: Levels, bits: Integer | int) -> Int32[Array, " ..."]:
    """Returns levels of which only the highest bits are kept.

    Args:
        levels: on the scale 0..255; float ones are rounded before.
        bits: highest bits that are kept, in 0..8.

    Returns: int32 levels.
    """
    return jnp.round(levels).astype(jnp.int32) & ~((1 << (8 - bits)) - 1)


def posterize_table(bits: Integer | int) -> Table:
    """Returns the table that keeps the highest bits of levels.

    Args:
        bits: highest bits that are kept, in 0..8.

    Returns: the new level of each level.
    """
    return posterized(jnp.asarray(LEVELS), bits)


def solarized(levels: Levels, threshold: Integer | int) -> Levels:
    """Returns levels of which those from `threshold` on are inverted.

    Args:
        levels: on the scale 0..255.
        threshold: first level that is inverted, in 0..256; float levels are rounded to compare.

    Returns: levels of the same dtype.
    """
    return jnp.where(jnp.round(levels) < threshold, levels, 255 - levels)


def solarize_table(threshold: Integer | int) -> Table:
    """Returns the table that inverts the levels from `threshold` on.

    Args:
        threshold: in 0..256: 0 inverts all, 256 nothing.

    Returns: the new level of each level.
    """
    return solarized(jnp.asarray(LEVELS), threshold)


def stretched(
    levels: Int32[Array, " ..."], low: Int32[Array, " ..."], high: Int32[Array, " ..."]
) -> Int32[Array, " ..."]:
    """Returns levels with low..high mapped to 0..255, rounded down.

    Args:
        levels: on the scale 0..255.
        low, high: levels that become 0 and 255. Where they are equal, nothing changes.

    Returns: int32 levels, clipped to 0..255.
    """
    # Divided as floats, since that is vectorised; the half keeps a whole quotient whole if the division is inexact.
    above, span = (255 * (levels - low)).astype(jnp.float32), jnp.maximum(high - low, 1).astype(jnp.float32)
    return jnp.where(high > low, jnp.clip((above + 0.5) / span, 0, 255).astype(jnp.int32), levels)


def autocontrast_tables(pixels: Pixels, channels: int) -> Tables:
    """Returns tables that stretch each channel to 0..255, rounded down.

    Pillow computes this in float64 and falls one level short in 0.4% of the entries where the quotient is whole (its
    white may become 254); here those entries are exact.

    Args:
        pixels: packed pixels [h w].
        channels: channels of the image, in 1..4.

    Returns: the new level of each level, for each channel.
    """
    levels = jnp.stack(planes(pixels, channels))
    low, high = (jax.vmap(lambda x, f=f: over_pixels(f, x))(levels) for f in (jnp.min, jnp.max))
    return stretched(jnp.asarray(LEVELS), low[:, None], high[:, None])


def equalize_tables(pixels: Pixels, channels: int) -> Tables:
    """Returns tables that make each channel's histogram as flat as a table can.

    Args:
        pixels: packed pixels [h w].
        channels: channels of the image, in 1..4.

    Returns: the new level of each level, for each channel.
    """

    def table(levels: Int32[Array, "h w"]) -> Table:
        counts = jnp.zeros(256, jnp.int32).at[levels.reshape(-1)].add(1, mode="promise_in_bounds")
        step = (levels.size - counts[jnp.max(jnp.where(counts > 0, LEVELS, 0))]) // 255
        # Counts below 2**24 are exact in float32, and a product with a triangle is faster than a scan.
        below = jnp.matmul(counts.astype(jnp.float32), _BELOW, precision="highest").astype(jnp.int32)
        flattened = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step > 0, flattened, LEVELS)

    return jnp.stack([table(channel(pixels, i)) for i in range(channels)])


_BELOW = np.triu(np.ones((256, 256), np.float32), k=1)
