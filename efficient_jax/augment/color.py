"""Operations on levels. Each is a table of 256 entries, or a blend with a reference picture.

uint8 arithmetic is in integers, so that it is exactly Pillow's (ImageEnhance, ImageOps), compiled in whichever way:
a factor counts 1024ths, for which Pillow's float32 arithmetic is exact too.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from efficient_jax.augment import kernels
from efficient_jax.augment.kernels import Pixels, channel
from efficient_jax.types import Example, UserError

ONE = 1024  # the factor that changes nothing
Integer = Int32[Array, ""]
Table = Int32[Array, "256"]
Tables = Int32[Array, "c 256"]

LEVELS = np.arange(256, dtype=np.int32)


def blend_levels(reference: Int32[Array, "..."], levels: Int32[Array, "..."], factor: Integer) -> Int32[Array, "..."]:
    """`reference + factor * (levels - reference)`, rounded down as Pillow does, clipped to 0..255."""
    return jnp.clip((reference * ONE + factor * (levels - reference)) >> 10, 0, 255)


def blend(reference: Pixels, pixels: Pixels, factor: Integer, channels: int) -> Pixels:
    """Packed pixels moved away from (factor > ONE) or towards (< ONE) a reference picture."""
    return kernels.pack_planes(
        [blend_levels(channel(reference, i), channel(pixels, i), factor) for i in range(channels)]
    )


def luma(pixels: Pixels, channels: int) -> Int32[Array, "h w"]:
    """Pillow's convert("L"): ITU-R 601-2, rounded."""
    if channels == 1:
        return channel(pixels, 0)
    if channels != 3:
        raise UserError(f"colour operations take 1 or 3 channels, this image has {channels}")
    red, green, blue = (channel(pixels, i) for i in range(3))
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def gray(pixels: Pixels, channels: int) -> Pixels:
    """What `color` (saturation) blends with. A picture of one channel is its own gray."""
    return kernels.pack_planes([luma(pixels, channels)] * channels)


def mean_level(pixels: Pixels, channels: int) -> Integer:
    """What `contrast` blends with: the mean luma, rounded."""
    return (2 * jnp.sum(luma(pixels, channels)) + pixels.size) // (2 * pixels.size)


def brightness_table(factor: Integer) -> Table:
    return blend_levels(jnp.int32(0), jnp.asarray(LEVELS), factor)


def contrast_table(mean: Integer, factor: Integer) -> Table:
    return blend_levels(mean, jnp.asarray(LEVELS), factor)


def posterize_table(bits: Integer) -> Table:
    """Keeps the `bits` (0..8) highest bits."""
    return jnp.asarray(LEVELS) & ~((1 << (8 - bits)) - 1)


def solarize_table(threshold: Integer) -> Table:
    """Inverts the levels from `threshold` on: 0 inverts all, 256 nothing."""
    return jnp.where(threshold > LEVELS, LEVELS, 255 - LEVELS)


def autocontrast_tables(pixels: Pixels, channels: int) -> Tables:
    """Stretches each channel to 0..255, rounded down.

    Pillow computes this in float64 and falls one level short in 0.4% of the entries where the quotient is whole
    (its white may become 254); here those entries are exact.
    """

    def table(levels: Int32[Array, "h w"]) -> Table:
        low, high = jnp.min(levels), jnp.max(levels)
        stretched = jnp.clip((LEVELS - low) * 255 // jnp.maximum(high - low, 1), 0, 255)
        return jnp.where(high > low, stretched, LEVELS)

    return jnp.stack([table(channel(pixels, i)) for i in range(channels)])


def equalize_tables(pixels: Pixels, channels: int) -> Tables:
    """Makes each channel's histogram as flat as a table can."""

    def table(levels: Int32[Array, "h w"]) -> Table:
        counts = jnp.zeros(256, jnp.int32).at[levels.reshape(-1)].add(1, mode="promise_in_bounds")
        step = (levels.size - counts[jnp.max(levels)]) // 255
        # Counts below 2**24 are exact in float32, and a product with a triangle is faster than a scan.
        below = jnp.matmul(counts.astype(jnp.float32), _BELOW, precision="highest").astype(jnp.int32)
        flattened = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step > 0, flattened, LEVELS)

    return jnp.stack([table(channel(pixels, i)) for i in range(channels)])


_BELOW = np.triu(np.ones((256, 256), np.float32), k=1)


def brightness(key: PRNGKeyArray, example: Example, *, strength: float) -> Example:
    """Multiplies the levels by a factor uniform in [max(0, 1 - strength), 1 + strength]; clips."""
    factor = _random_factor(key, strength, "brightness")
    image = example["image"]
    if image.dtype == jnp.uint8:
        return example | {"image": _through(image, brightness_table(_in_1024ths(factor)))}
    return example | {"image": jnp.clip(image * factor, 0, 1)}


def contrast(key: PRNGKeyArray, example: Example, *, strength: float) -> Example:
    """Multiplies each level's distance from the mean luma by such a factor; clips."""
    factor = _random_factor(key, strength, "contrast")
    image = example["image"]
    if image.dtype == jnp.uint8:
        mean = mean_level(kernels.pack(image), image.shape[-1])
        return example | {"image": _through(image, contrast_table(mean, _in_1024ths(factor)))}
    weights = {1: [1.0], 3: [0.299, 0.587, 0.114]}.get(image.shape[-1])
    if weights is None:
        raise UserError(f"colour operations take 1 or 3 channels, this image has {image.shape[-1]}")
    mean = jnp.sum(jnp.mean(image, axis=(0, 1)) * jnp.array(weights, image.dtype))
    return example | {"image": jnp.clip(mean + factor * (image - mean), 0, 1)}


def _random_factor(key: PRNGKeyArray, strength: float, name: str) -> Float[Array, ""]:
    if strength < 0:
        raise UserError(f"{name}: strength {strength} is negative; 0.4 draws factors from 0.6 to 1.4")
    return jax.random.uniform(key, minval=max(0.0, 1 - strength), maxval=1 + strength)


def _in_1024ths(factor: Float[Array, ""]) -> Integer:
    return jnp.round(factor * ONE).astype(jnp.int32)


def _through(image: Array, table: Table) -> Array:
    return table.astype(jnp.uint8).at[image.astype(jnp.int32)].get(mode="promise_in_bounds")
