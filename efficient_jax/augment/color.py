"""Operations on levels and channels, those of Pillow's ImageOps among them.

uint8 levels are changed as integers, float ones without rounding, see `kernels.pointwise`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from efficient_jax.augment import ranges
from efficient_jax.augment.kernels import dtypes, loops, packed, pointwise
from efficient_jax.augment.kernels.pointwise import AnyPixels, Levels
from efficient_jax.augment.ranges import Range
from efficient_jax.errors import UserError
from efficient_jax.types import Example


def by_level(example: Example, change: Callable[[Levels], Levels]) -> Example:
    """Returns the example with each level of its image changed.

    Args:
        example: see types.Example.
        change: takes and returns the levels [h w c] on the scale 0..255, int32 of a uint8 image, float32 of a float
            image.

    Returns: the example; results for float images are clipped to 0..1, those for uint8 images have to be in 0..255.
    """
    image = example["image"]
    if image.dtype == jnp.uint8:
        return example | {"image": change(image.astype(jnp.int32)).astype(jnp.uint8)}
    return example | {"image": jnp.clip(change(255 * image) / 255, 0, 1)}


def by_pixel(example: Example, change: Callable[[AnyPixels, int], AnyPixels]) -> Example:
    """Returns the example with each pixel of its image changed.

    Args:
        example: see types.Example.
        change: takes an image, packed pixels or float [h w c], and its number of channels; returns an image of that
            form.

    Returns: the example; float images are clipped to 0..1.
    """
    image = example["image"]
    channels = image.shape[-1]
    if image.dtype == jnp.uint8:
        return example | {"image": packed.unpack(change(packed.pack(image), channels), channels)}
    return example | {"image": jnp.clip(change(image, channels), 0, 1)}


def posterize(key: PRNGKeyArray, example: Example, *, bits: int = 4) -> Example:
    """Keeps the `bits` highest bits of each level; a float image is rounded to 256 levels before.

    Args:
        key, example: see types.Example.
        bits: highest bits that are kept, in 0..8; 8 keeps all levels.

    Returns: the example with its image changed.

    Raises: UserError for `bits` outside 0..8.
    """
    del key
    if not 0 <= bits <= 8:
        raise UserError(f"posterize: bits {bits} is not in 0..8, the highest bits to be kept")
    return by_level(example, lambda levels: pointwise.posterized(levels, bits))


def solarize(key: PRNGKeyArray, example: Example, *, threshold: int = 128) -> Example:
    """Inverts the levels from `threshold` on.

    Args:
        key, example: see types.Example.
        threshold: first level that is inverted, in 0..256, of float images too; 0 inverts all, 256 nothing.

    Returns: the example with its image changed.

    Raises: UserError for a threshold outside 0..256.
    """
    del key
    _check_threshold("solarize", threshold)
    return by_level(example, lambda levels: pointwise.solarized(levels, threshold))


def solarize_add(key: PRNGKeyArray, example: Example, *, amount: int = 110, threshold: int = 128) -> Example:
    """Adds a whole number uniform in 0..amount to the levels below `threshold`, and clips (arXiv 1909.13719).

    Args:
        key, example: see types.Example.
        amount: the most that is added to a level, in 0..255.
        threshold: first level that stays as it is, in 0..256, of float images too.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    _check_threshold("solarize_add", threshold)
    if not 0 <= amount <= 255:
        raise UserError(f"solarize_add: amount {amount} is not in 0..255, the most that is added to a level")
    added = jnp.floor(jax.random.uniform(key) * (amount + 1))

    def change(levels: Levels) -> Levels:
        brighter = jnp.minimum(levels + added.astype(levels.dtype), 255)
        return jnp.where(jnp.round(levels) < threshold, brighter, levels)

    return by_level(example, change)


def brightness_add(key: PRNGKeyArray, example: Example, *, amount: Range = 0.2) -> Example:
    """Adds one constant, uniform in -amount..amount, to every level, where `brightness` multiplies; clips.

    It lifts the blacks as fog does, and keeps differences between levels. keras' RandomBrightness and kornia's
    adjust_brightness; `reference + constant` of Pillow's ImageChops.add.

    Args:
        key, example: see types.Example.
        amount: largest change either way as a share of white, in 0..1; or a range (lowest, highest) in -1..1: (0.0,
            0.3) only brightens.

    Returns: the example with its image changed; uint8 levels change by a whole number of levels.

    Raises: UserError for amounts beyond 1.
    """
    low, high = ranges.changes(amount, "brightness_add: amount")
    if not -1 <= low <= high <= 1:
        raise UserError(f"brightness_add: amount {amount} is not in -1..1, where 1 is from black to white")
    uniform = jax.random.uniform(key)
    if example["image"].dtype != jnp.uint8:
        added = low + (high - low) * uniform
        return by_level(example, lambda levels: levels + (255 * added).astype(levels.dtype))
    least, most = round(255 * low), round(255 * high)
    constant = least + (uniform * (most - least + 1)).astype(jnp.int32)
    return by_level(example, lambda levels: jnp.clip(levels + constant, 0, 255))


def _check_threshold(name: str, threshold: int) -> None:
    if not 0 <= threshold <= 256:
        raise UserError(f"{name}: threshold {threshold} is not in 0..256; levels end at 255, in float images too")


def invert(key: PRNGKeyArray, example: Example) -> Example:
    """Inverts all levels: white becomes black.

    Args:
        key, example: see types.Example.

    Returns: the example with its image changed.
    """
    del key
    return by_level(example, lambda levels: 255 - levels)


def autocontrast(key: PRNGKeyArray, example: Example) -> Example:
    """Stretches the levels of each channel to the whole range; a constant channel stays as it is.

    Args:
        key, example: see types.Example.

    Returns: the example with its image changed.
    """
    del key
    image = example["image"]
    low, high = (pointwise.over_pixels(f, image) for f in (jnp.min, jnp.max))
    if image.dtype == jnp.uint8:
        return by_level(
            example, lambda levels: pointwise.stretched(levels, low.astype(jnp.int32), high.astype(jnp.int32))
        )
    span = jnp.where(high > low, high - low, 1)
    return example | {"image": jnp.where(high > low, jnp.clip((image - low) / span, 0, 1), image)}


def equalize(key: PRNGKeyArray, example: Example) -> Example:
    """Makes each channel's histogram as flat as a table can; a float image is rounded to 256 levels before.

    Args:
        key, example: see types.Example.

    Returns: the example with its image changed.
    """
    del key
    image = example["image"]
    channels = image.shape[-1]
    one = loops.platform_loop(lambda pixels: packed.look_up(pixels, pointwise.equalize_tables(pixels, channels)))
    out = packed.unpack(one(packed.pack(dtypes.to_uint8(image))), channels)
    return example | {"image": out if image.dtype == jnp.uint8 else dtypes.to_float(out)}


def grayscale(key: PRNGKeyArray, example: Example) -> Example:
    """Puts the luma (ITU-R 601-2) in every channel.

    Args:
        key, example: see types.Example.

    Returns: the example with its image changed.
    """
    del key
    return by_pixel(example, pointwise.gray)


def channel_shuffle(key: PRNGKeyArray, example: Example) -> Example:
    """Puts the channels in a random order, each order equally likely.

    Args:
        key, example: see types.Example.

    Returns: the example with its image changed.
    """
    order = jnp.argsort(jax.random.uniform(key, (example["image"].shape[-1],)))

    def shuffled(image: AnyPixels, channels: int) -> AnyPixels:
        if image.dtype != jnp.uint32:
            return image[..., order]
        bits = 8 * order.astype(jnp.uint32)
        return packed.pack_planes([((image >> bits[i]) & 255).astype(jnp.int32) for i in range(channels)])

    return by_pixel(example, shuffled)


def channel_drop(key: PRNGKeyArray, example: Example, *, fill: float = 0.0) -> Example:
    """Fills one channel, each equally likely. An image of one channel stays as it is.

    Args:
        key, example: see types.Example.
        fill: level of the channel that is dropped, in 0..1.

    Returns: the example with its image changed.

    Raises: UserError for a fill outside 0..1.
    """
    image = example["image"]
    channels = image.shape[-1]
    if channels == 1:
        return example
    value = jnp.asarray(dtypes.filling(fill, image.dtype), image.dtype)
    dropped = jnp.arange(channels) == (jax.random.uniform(key) * channels).astype(jnp.int32)
    return example | {"image": jnp.where(dropped, value, image)}
