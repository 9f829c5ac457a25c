"""Paper: operations on a sheet, and the light that falls on it."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, PRNGKeyArray

from efficient_jax.augment.documents.ink import (
    BLACK,
    ONE,
    Image,
    Seed,
    clouds,
    draw,
    grain,
    multiply,
    towards,
    up_to,
    white,
)
from efficient_jax.augment.kernels import dtypes, loops, packed, pointwise
from efficient_jax.errors import UserError
from efficient_jax.types import Example

_ANGLES = 256  # directions that lighting_gradient draws from


def paper_tint(key: PRNGKeyArray, example: Example, *, lightness: float = 0.85, warmth: float = 0.15) -> Example:
    """Multiplies the image by a color: a sheet of another white.

    Its red is uniform in lightness..1; green has the share w / 2.5 less than red, blue the share w, with w uniform in
    0..warmth. Images of one channel are multiplied by its luma.

    Args:
        key, example: see types.Example; 1 or 3 channels.
        lightness: lowest level of the sheet's red, in 0..1, where 1.0 is white.
        warmth: largest share by which blue is darker than red, in 0..1; 0.0 is gray.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges, and for another number of channels.
    """
    if not 0 <= lightness <= 1:
        raise UserError(f"paper_tint: lightness {lightness} is not in 0..1, where 1 is white")
    image = example["image"]
    channels = image.shape[2]
    if channels not in (1, 3):
        raise UserError(f"paper_tint takes 1 or 3 channels, this image has {channels}")
    (darker, warmer), _ = draw(key, 2)
    red = ONE - up_to(1 - lightness, darker, "paper_tint: 1 - lightness")
    lack = up_to(warmth, warmer, "paper_tint: warmth") >> 8
    levels = jnp.stack([red, red - (red >> 8) * (lack * 2 // 5), red - (red >> 8) * lack])
    tint = ((levels * 255 + ONE // 2) >> 16).astype(jnp.uint8)[None, None]
    if channels == 1:
        tint = pointwise.luma(packed.pack(tint), 3).astype(jnp.uint8)[..., None]
    return example | {"image": multiply(image, tint if image.dtype == jnp.uint8 else dtypes.to_float(tint))}


def texture(key: PRNGKeyArray, example: Example, *, strength: float = 0.15, scale: int = 16) -> Example:
    """Makes the paper uneven: darker by the mean of two noises, one with details of two pixels, one of `scale` pixels.

    Both are smooth and in [0, amount], with an amount uniform in [0, strength] for each image.

    Args:
        key, example: see types.Example.
        strength: largest share of the light that is lost, in 0..1.
        scale: size of the coarse details in pixels, 1 or more.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    if scale < 1:
        raise UserError(f"texture: scale {scale} is not in pixels, 1 or more")
    (u,), seed = draw(key, 1)

    def roughen(image: Image, amount: Int32[Array, ""], seed: Seed) -> Image:
        height, width, _ = image.shape
        cells = (-(-height // scale), -(-width // scale))
        uneven = grain(seed, height, width) + clouds(~seed, height, width, cells)
        return towards(image, BLACK, amount * uneven >> 9)

    amount = up_to(strength, u, "texture: strength")
    return example | {"image": loops.platform_loop(roughen)(example["image"], amount, seed)}


def folding_shadow(
    key: PRNGKeyArray, example: Example, *, strength: float = 0.3, folds: int = 1, reach: float = 0.1
) -> Example:
    """Shades the sheet along folds: a shadow on one side of each, a shine half as strong on the other.

    Folds lie anywhere, down or across the page. At the fold the shadow takes an amount of the light that is uniform in
    [0, strength] for each fold.

    Args:
        key, example: see types.Example.
        strength: largest share of the light that a shadow takes, in 0..1.
        folds: number of folds, 1 or more.
        reach: distance at which a shadow ends, as a share of the page's side, above 0.0, at most 1.0.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    if folds < 1 or not 0 < reach <= 1:
        raise UserError(f"folding_shadow: want folds >= 1 and 0 < reach <= 1, got {folds} and {reach}")
    image = example["image"]
    u = draw(key, 4 * folds)[0].reshape(4, folds, 1)
    amount = up_to(strength, u[0], "folding_shadow: strength")
    side = jnp.where(u[1] < 0.5, 1, -1).astype(jnp.int32)

    def shadow(length: int, here: Bool[Array, "folds 1"]) -> Int32[Array, " length"]:
        far = max(1, round(reach * length))
        apart = side * (jnp.arange(length, dtype=jnp.int32) - (u[2] * length).astype(jnp.int32))
        dark = amount * jnp.maximum(far - abs(apart), 0) // far
        return jnp.sum(jnp.where(here, jnp.where(apart >= 0, dark, -(dark // 2)), 0), axis=0)

    def shade(image: Image, down: Int32[Array, " h"], across: Int32[Array, " w"]) -> Image:
        dark = down[:, None] + across
        target = jnp.broadcast_to(jnp.where(dark[..., None] < 0, white(image), 0), image.shape)
        return towards(image, target, jnp.minimum(abs(dark), ONE))

    across = u[3] < 0.5
    shadows = shadow(image.shape[0], across), shadow(image.shape[1], ~across)
    return example | {"image": loops.platform_loop(shade)(image, *shadows)}


def lighting_gradient(key: PRNGKeyArray, example: Example, *, strength: float = 0.4) -> Example:
    """Darkens the image linearly in a random direction, as a lamp on one side does.

    On the far corner an amount is missing that is uniform in [0, strength] for each image, on the near one nothing.

    Args:
        key, example: see types.Example.
        strength: largest share of the light that is missing on the far corner, in 0..1.

    Returns: the example with its image changed.

    Raises: UserError for a strength outside 0..1.
    """
    image = example["image"]
    height, width, _ = image.shape
    (u, turn), _ = draw(key, 2)
    amount = up_to(strength, u, "lighting_gradient: strength")
    # A table, since a cosine may differ in its last bit from one compilation to the next.
    angles = 2 * np.pi * np.arange(_ANGLES) / _ANGLES
    downhill = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    extent = np.maximum(abs(downhill) @ [width - 1, height - 1], 1)  # one pixel has no slope
    slopes = jnp.asarray(128 * downhill / extent[:, None], jnp.float32)[(turn * _ANGLES).astype(jnp.int32)]
    x, y = jnp.round(slopes * amount.astype(jnp.float32)).astype(jnp.int32)

    def shade(image: Image, x: Int32[Array, ""], y: Int32[Array, ""], amount: Int32[Array, ""]) -> Image:
        across = 2 * jnp.arange(width, dtype=jnp.int32) - (width - 1)  # in half pixels from the center: integers
        down = (2 * jnp.arange(height, dtype=jnp.int32) - (height - 1))[:, None]
        missing = (x * across + y * down + 128 * amount) >> 8
        return towards(image, BLACK, jnp.clip(missing, 0, amount))

    return example | {"image": loops.platform_loop(shade)(image, x, y, amount)}
