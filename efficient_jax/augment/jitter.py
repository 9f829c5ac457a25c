"""Random brightness, contrast, saturation, hue and gamma, alone or as one color jitter."""

import itertools
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int32, Num, PRNGKeyArray

from efficient_jax.augment import ranges
from efficient_jax.augment.color import by_level, by_pixel
from efficient_jax.augment.kernels import loops, pointwise
from efficient_jax.augment.kernels.pointwise import LEVELS, ONE, SIXTH, AnyPixels
from efficient_jax.augment.ranges import Range
from efficient_jax.errors import UserError
from efficient_jax.types import Example

Amount = Num[Array, ""]  # of a factor 1024ths, of a turn SIXTHs: int32 for a uint8 image, float32 for a float image


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

    def jitter(image: AnyPixels, channels: int) -> AnyPixels:
        steps = [partial(_STEPS[name][1], channels=channels) for name in names]

        @loops.platform_loop
        def one(image: AnyPixels, order: Int32[Array, " n"], amounts: Num[Array, " n"]) -> AnyPixels:
            def step(i: Array, image: AnyPixels) -> AnyPixels:
                jittered: AnyPixels = lax.switch(order[i], steps, amounts[order[i]], image)
                return jittered

            jittered: AnyPixels = lax.fori_loop(0, len(steps), step, image)
            return jittered

        return one(image, order, amounts)

    return by_pixel(example, jitter)


def _brightness(factor: Amount, image: AnyPixels, channels: int) -> AnyPixels:
    return pointwise.blend_planes([0] * channels, image, factor)


def _contrast(factor: Amount, image: AnyPixels, channels: int) -> AnyPixels:
    return pointwise.blend_planes([pointwise.mean_level(image, channels)] * channels, image, factor)


def _saturation(factor: Amount, image: AnyPixels, channels: int) -> AnyPixels:
    return pointwise.blend_planes([pointwise.luma(image, channels)] * channels, image, factor)


def _hue(turn: Amount, image: AnyPixels, channels: int) -> AnyPixels:
    return pointwise.turn_hue(image, turn, channels)


def _factors(name: str, strength: Range) -> tuple[float, float]:
    low, high = ranges.factors(strength, f"{name}: strength")
    return low * ONE, high * ONE


def _turns(name: str, strength: Range) -> tuple[float, float]:
    low, high = ranges.changes(strength, f"{name}: strength")
    if not -0.5 <= low <= high <= 0.5:
        raise UserError(f"{name}: strength {strength} is not in 0..0.5; 0.5 is half the color circle either way")
    return 6 * low * SIXTH, 6 * high * SIXTH


def _amounts(
    uniform: Float[Array, " *n"],
    example: Example,
    low: Float[np.ndarray, " *n"] | float,
    high: Float[np.ndarray, " *n"] | float,
) -> Num[Array, " *n"]:
    lowest, highest = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    if example["image"].dtype != jnp.uint8:
        between: Array = lowest + (highest - lowest) * uniform
        return between
    # Whole numbers from one product: a sum of floats may round differently in another program.
    least, most = jnp.round(lowest), jnp.round(highest)
    return least.astype(jnp.int32) + (uniform * (most - least + 1)).astype(jnp.int32)


_STEPS: dict[str, tuple[Callable[[str, Range], tuple[float, float]], Callable[..., AnyPixels]]] = {
    "brightness": (_factors, _brightness),
    "contrast": (_factors, _contrast),
    "saturation": (_factors, _saturation),
    "hue": (_turns, _hue),
}
