"""Operations on levels and channels.

They are brightness, contrast, saturation, hue and gamma, the first four together (`color_jitter`), and those of
Pillow's ImageOps.

uint8 levels are changed as integers, float ones without rounding, see `kernels.pointwise`.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int32, Num, PRNGKeyArray

from efficient_jax.augment import ranges
from efficient_jax.augment.kernels import dtypes, loops, packed, pointwise
from efficient_jax.augment.kernels.pointwise import LEVELS, ONE, SIXTH, Levels, Picture
from efficient_jax.augment.ranges import Range
from efficient_jax.errors import UserError
from efficient_jax.types import Example

Amount = Num[Array, ""]  # of a factor 1024ths, of a turn SIXTHs: int32 for a uint8 image, float32 for a float image


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


def by_pixel(example: Example, change: Callable[[Picture, int], Picture]) -> Example:
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

    def shuffled(picture: Picture, channels: int) -> Picture:
        if picture.dtype != jnp.uint32:
            return picture[..., order]
        bits = 8 * order.astype(jnp.uint32)
        return packed.pack_planes([((picture >> bits[i]) & 255).astype(jnp.int32) for i in range(channels)])

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


def brightness(key: PRNGKeyArray, example: Example, *, strength: Range) -> Example:
    """Multiplies the levels by a factor uniform in [max(0, 1 - strength), 1 + strength], and clips.

    Args:
        key, example: see types.Example.
        strength: largest relative change either way, 0.0 or more; or a range of factors (lowest, highest): (1.0, 1.5)
            only brightens.

    Returns: the example with its image changed.

    Raises: UserError for a negative strength, or a range that is not in order.
    """
    factor = _amounts(jax.random.uniform(key), example, *_factors("brightness", strength))
    return by_level(example, lambda levels: pointwise.blend_levels(0, levels, factor))


def contrast(key: PRNGKeyArray, example: Example, *, strength: Range) -> Example:
    """Multiplies each level's distance from the image's mean luma by a random factor, and clips.

    Args:
        key, example: see types.Example.
        strength: largest relative change either way, 0.0 or more; or a range of factors (lowest, highest).

    Returns: the example with its image changed. The factor is uniform in [max(0, 1 - strength), 1 + strength].

    Raises: UserError for a negative strength, or a range that is not in order.
    """
    factor = _amounts(jax.random.uniform(key), example, *_factors("contrast", strength))
    return by_pixel(example, partial(_contrast, factor))


def saturation(key: PRNGKeyArray, example: Example, *, strength: Range) -> Example:
    """Multiplies each level's distance from the pixel's luma by a random factor, and clips.

    Args:
        key, example: see types.Example.
        strength: largest relative change either way, 0.0 or more; or a range of factors (lowest, highest).

    Returns: the example with its image changed. The factor is uniform in [max(0, 1 - strength), 1 + strength].

    Raises: UserError for a negative strength, or a range that is not in order.
    """
    factor = _amounts(jax.random.uniform(key), example, *_factors("saturation", strength))
    return by_pixel(example, partial(_saturation, factor))


def hue(key: PRNGKeyArray, example: Example, *, strength: Range) -> Example:
    """Turns the hue of HSV by a fraction of the color circle uniform in [-strength, strength].

    Args:
        key, example: see types.Example.
        strength: largest turn either way, in 0..0.5 color circles; or a range (lowest, highest) in -0.5..0.5.

    Returns: the example with its image changed.

    Raises: UserError for a turn beyond half the color circle, or a range that is not in order.
    """
    turn = _amounts(jax.random.uniform(key), example, *_turns("hue", strength))
    return by_pixel(example, partial(_hue, turn))


def gamma(key: PRNGKeyArray, example: Example, *, strength: Range) -> Example:
    """Raises the levels, as fractions of white, to a power log-uniform in 1 / (1 + strength)..1 + strength.

    Args:
        key, example: see types.Example.
        strength: powers up to 1 + strength and their inverses, 0.0 or more; or a range of powers (lowest, highest):
            (1.0, 2.0) only darkens.

    Returns: the example with its image changed.

    Raises: UserError for a negative strength, or a range that is not in order from 0.001 on.
    """
    low, high = ranges.logarithms(strength, "gamma: strength")
    image = example["image"]
    uniform = jax.random.uniform(key)
    if image.dtype != jnp.uint8:
        logarithm = (low + high) / 2 + (2 * uniform - 1) * ((high - low) / 2)
        return example | {"image": jnp.clip(image, 0, 1) ** jnp.exp(logarithm)}
    # One of 257 tables made here, since a power computed on the device may round differently in another program.
    powers = np.geomspace(*strength, 257) if isinstance(strength, tuple) else (1 + strength) ** np.linspace(-1, 1, 257)
    tables = np.round(255 * (LEVELS / 255) ** powers[:, None]).astype(np.uint8)
    table = jnp.asarray(tables)[(uniform * len(tables)).astype(jnp.int32)]
    return example | {"image": table.at[image.astype(jnp.int32)].get(mode="promise_in_bounds")}


def color_jitter(
    key: PRNGKeyArray,
    example: Example,
    *,
    brightness: Range = 0.0,
    contrast: Range = 0.0,
    saturation: Range = 0.0,
    hue: Range = 0.0,
) -> Example:
    """Applies brightness, contrast, saturation and hue in an order that is drawn for each image.

    uint8 levels are rounded after each of them.

    Args:
        key, example: see types.Example.
        brightness: largest relative change either way, 0.0 or more, or a range of factors; 0.0 leaves the operation
            out.
        contrast: largest relative change either way, 0.0 or more, or a range of factors; 0.0 leaves the operation out.
        saturation: largest relative change either way, 0.0 or more, or a range of factors; 0.0 leaves the operation
            out.
        hue: largest turn either way, in 0..0.5 color circles, or a range of turns; 0.0 leaves the operation out.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges, see the operations of these names.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    names = [name for name in strengths if strengths[name] != 0]
    if not names:
        return example
    which, *uniform = jax.random.uniform(key, (1 + len(names),))
    low, high = np.array([_STEPS[name][0](name, strengths[name]) for name in names], np.float32).T
    amounts = _amounts(jnp.stack(uniform), example, low, high)
    orders = jnp.array(list(itertools.permutations(range(len(names)))), jnp.int32)
    order = orders[(which * len(orders)).astype(jnp.int32)]

    def jitter(picture: Picture, channels: int) -> Picture:
        steps = [partial(_STEPS[name][1], channels=channels) for name in names]

        @loops.platform_loop
        def one(picture: Picture, order: Int32[Array, " n"], amounts: Num[Array, " n"]) -> Picture:
            def step(i: Array, picture: Picture) -> Picture:
                jittered: Picture = lax.switch(order[i], steps, amounts[order[i]], picture)
                return jittered

            jittered: Picture = lax.fori_loop(0, len(steps), step, picture)
            return jittered

        return one(picture, order, amounts)

    return by_pixel(example, jitter)


def _brightness(factor: Amount, picture: Picture, channels: int) -> Picture:
    return pointwise.blend_planes([0] * channels, picture, factor)


def _contrast(factor: Amount, picture: Picture, channels: int) -> Picture:
    return pointwise.blend_planes([pointwise.mean_level(picture, channels)] * channels, picture, factor)


def _saturation(factor: Amount, picture: Picture, channels: int) -> Picture:
    return pointwise.blend_planes([pointwise.luma(picture, channels)] * channels, picture, factor)


def _hue(turn: Amount, picture: Picture, channels: int) -> Picture:
    return pointwise.turn_hue(picture, turn, channels)


def _factors(name: str, strength: Range) -> tuple[float, float]:
    low, high = ranges.factors(strength, f"{name}: strength")
    return low * ONE, high * ONE


def _turns(name: str, strength: Range) -> tuple[float, float]:
    low, high = ranges.changes(strength, f"{name}: strength")
    if not -0.5 <= low <= high <= 0.5:
        raise UserError(f"{name}: strength {strength} is not in 0..0.5; 0.5 is half the color circle either way")
    return 6 * low * SIXTH, 6 * high * SIXTH


def _amounts(uniform: Float[Array, " *n"], example: Example, low: Any, high: Any) -> Num[Array, " *n"]:
    low, high = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    if example["image"].dtype != jnp.uint8:
        between: Array = low + (high - low) * uniform
        return between
    # Whole numbers from one product: a sum of floats may round differently in another program.
    least, most = jnp.round(low), jnp.round(high)
    return least.astype(jnp.int32) + (uniform * (most - least + 1)).astype(jnp.int32)


_STEPS: dict[str, tuple[Callable[[str, Range], tuple[float, float]], Callable[..., Picture]]] = {
    "brightness": (_factors, _brightness),
    "contrast": (_factors, _contrast),
    "saturation": (_factors, _saturation),
    "hue": (_turns, _hue),
}
