"""Printed pages that look scanned: ink, paper and light, in the manner of Augraphy (arXiv 2208.14558).

A page is dark ink on white. Ink operations change it, paper operations a blank sheet, `document` prints one on the
other and lets the rest happen to both. Each is also an operation of its own, on any image.

Most of them draw each pixel some way towards another picture, often plain black or white (`towards`). The ways are
integers, so that no pixel of a uint8 image depends on how the arithmetic was compiled.
"""

import math
from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, PRNGKeyArray, Shaped, UInt32

from efficient_jax import binding
from efficient_jax.augment import color, filters, geometry, kernels, noise, resample
from efficient_jax.augment.choose import with_probability
from efficient_jax.augment.jpeg import jpeg
from efficient_jax.types import Augmentation, Example, UserError

ONE = 1 << 16  # all the way
BLACK, WHITE = 0.0, 1.0
_ANGLES = 256  # lighting_gradient draws one of so many directions

Image = Shaped[Array, "h w c"]
Way = Int32[Array, "h w"]  # in 0..ONE


def ink_bleed(key: PRNGKeyArray, example: Example, *, strength: float = 0.8, radius: int = 1) -> Example:
    """Strokes grow, with ragged edges: each pixel goes some way towards the darkest within `radius` pixels.

    The way is noise in grains of two pixels, uniform in [0, amount], with an amount uniform in [0, strength] for
    each image.
    """
    if radius < 0:
        raise UserError(f"ink_bleed: radius {radius} is negative; 1 makes strokes at most two pixels thicker")
    image = example["image"]
    size = image.shape[:2]
    (u,), seed = _draw(key, 1)
    way = _amount(u, strength, "ink_bleed") * _smooth_noise(seed, _cells(size, 2), size) >> 8
    return example | {"image": towards(image, _darkest(image, radius), way)}


def fading(key: PRNGKeyArray, example: Example, *, strength: float = 0.6, cells: tuple[int, int] = (4, 4)) -> Example:
    """Ink becomes lighter, more in some places than in others.

    It loses a share that is smooth noise, uniform in [0, amount], with an amount uniform in [0, strength] for each
    image. cells: the noise changes so many times down and across the page; (1, 60) makes streaks down the page,
    as a worn drum does.
    """
    if len(cells) != 2 or min(cells) < 1:
        raise UserError(f"fading: cells {cells} are not two numbers of cells, 1 or more down and across")
    image = example["image"]
    (u,), seed = _draw(key, 1)
    way = _amount(u, strength, "fading") * _smooth_noise(seed, (cells[0], cells[1]), image.shape[:2]) >> 8
    return example | {"image": towards(image, WHITE, way)}


def dithering(key: PRNGKeyArray, example: Example, *, size: int = 4) -> Example:
    """Black and white only: luma against the thresholds of Bayer's ordered dither. Nothing is random.

    size: the side of the matrix, a power of two; a gray area shows `round(size^2 * level)` white pixels in it.
    """
    del key
    if size < 1 or size & (size - 1):
        raise UserError(f"dithering: size {size} is not a power of two; 4 and 8 are common")
    image = example["image"]
    height, width, channels = image.shape
    matrix = np.zeros((1, 1), np.int32)
    while len(matrix) < size:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    tiles = np.tile(matrix, (-(-height // size), -(-width // size)))[:height, :width]
    picture = kernels.pack(image) if image.dtype == jnp.uint8 else image
    luma = color.luma(picture, channels)  # in 0..255
    white = luma * 2 * size**2 > jnp.asarray((2 * tiles + 1) * 255, luma.dtype)
    return example | {"image": jnp.broadcast_to(white[..., None], image.shape).astype(image.dtype) * _white(image)}


def blot(
    key: PRNGKeyArray, example: Example, *, strength: float = 0.8, count: int = 3, radius: float = 0.04
) -> Example:
    """`count` drops of ink anywhere on the page, each run together from four round ones.

    strength: how dark; uniform in [0, strength] for each image. radius: of the largest, as a share of the page's
    shorter side; uniform in [0, radius] for each drop.
    """
    if count < 1 or not 0 < radius <= 1:
        raise UserError(f"blot: want count >= 1 and 0 < radius <= 1, got {count} and {radius}")
    image = example["image"]
    height, width, _ = image.shape
    parts = 4
    u, _ = _draw(key, 1 + 3 * count + 2 * count * parts)
    place, spread = u[1 : 1 + 3 * count].reshape(3, count, 1), u[1 + 3 * count :].reshape(2, count, parts)
    reach = place[2] * (radius * min(height, width)) + 0.5
    # Gaussians that add up, cut at half the height of one, are round alone and flow together where they meet.
    bell = jnp.asarray(np.round(128 * np.exp(-((np.arange(257) / 64) ** 2) * math.log(2))), jnp.float32)

    def along(length: int, axis: int) -> Float[Array, "parts length"]:
        centre = (place[axis] * length + (2 * spread[axis] - 1) * reach)[..., None]
        apart = abs(jnp.arange(length, dtype=jnp.float32) - centre) * (64 / reach)[..., None]
        return bell.at[jnp.minimum(apart, 256).astype(jnp.int32)].get(mode="promise_in_bounds").reshape(-1, length)

    # Integers below 2**24: exact in float32, in whichever order they are summed.
    field = jnp.matmul(along(height, 0).T, along(width, 1), precision="highest").astype(jnp.int32)
    way = jnp.clip((field - (1 << 13)) * 16, 0, _amount(u[0], strength, "blot"))
    return example | {"image": towards(image, BLACK, way)}


def paper_tint(
    key: PRNGKeyArray, example: Example, *, lightness: float = 0.85, warmth: float = 0.15
) -> Example:
    """A sheet of another white: the image times a colour.

    Its red is uniform in lightness..1, of which green lacks 0.4 w and blue w, with w uniform in 0..warmth. Images
    of one channel are multiplied by its luma.
    """
    if not 0 <= lightness <= 1:
        raise UserError(f"paper_tint: lightness {lightness} is not in 0..1, where 1 is white")
    image = example["image"]
    (darker, warmer), _ = _draw(key, 2)
    red = ONE - _amount(darker, 1 - lightness, "paper_tint", "1 - lightness")
    lack = _amount(warmer, warmth, "paper_tint", "warmth") >> 8
    channels = jnp.stack([red, red - (red >> 8) * (lack * 102 >> 8), red - (red >> 8) * lack])
    tint = (channels * 255 + ONE // 2 >> 16).astype(jnp.uint8)[None, None]
    if image.shape[2] == 1:
        tint = color.luma(kernels.pack(tint), 3).astype(jnp.uint8)[..., None]
    elif image.shape[2] != 3:
        raise UserError(f"paper_tint takes 1 or 3 channels, this image has {image.shape[2]}")
    return example | {"image": multiply(image, tint if image.dtype == jnp.uint8 else kernels.to_float(tint))}


def texture(
    key: PRNGKeyArray, example: Example, *, strength: float = 0.15, grain: int = 2, cloud: int = 16
) -> Example:
    """Uneven paper: darker by smooth noise of two scales, one with details of `grain`, one of `cloud` pixels.

    The mean of the two, uniform each, times an amount uniform in [0, strength] for each image.
    """
    if min(grain, cloud) < 1:
        raise UserError(f"texture: grain {grain} and cloud {cloud} are in pixels, 1 or more")
    image = example["image"]
    size = image.shape[:2]
    (u,), seed = _draw(key, 1)
    both = _smooth_noise(seed, _cells(size, grain), size) + _smooth_noise(~seed, _cells(size, cloud), size)
    return example | {"image": towards(image, BLACK, _amount(u, strength, "texture") * both >> 9)}


def folding_shadow(
    key: PRNGKeyArray, example: Example, *, strength: float = 0.3, folds: int = 1, reach: float = 0.1
) -> Example:
    """Sheets that were folded: on one side of each fold a shadow, on the other, half as strong, a shine.

    Folds lie anywhere, down or across the page. At the fold the shadow takes an amount of the light that is uniform
    in [0, strength] for each fold; it ends `reach` of the page's side away.
    """
    if folds < 0 or not 0 < reach <= 1:
        raise UserError(f"folding_shadow: want folds >= 0 and 0 < reach <= 1, got {folds} and {reach}")
    image = example["image"]
    u = _draw(key, 4 * folds)[0].reshape(4, folds, 1)
    amount = _amount(u[0], strength, "folding_shadow")
    sign = jnp.where(u[1] < 0.5, 1, -1).astype(jnp.int32)

    def shadow(length: int, here: Array) -> Int32[Array, "length"]:
        far = max(1, round(reach * length))
        apart = sign * (jnp.arange(length, dtype=jnp.int32) - (u[2] * length).astype(jnp.int32))
        slope = amount * jnp.maximum(far - abs(apart), 0) // far
        return jnp.sum(jnp.where(here, jnp.where(apart >= 0, slope, -slope // 2), 0), axis=0)

    across = u[3] < 0.5
    dark = shadow(image.shape[0], across)[:, None] + shadow(image.shape[1], ~across)
    shaded = towards(image, BLACK, jnp.clip(dark, 0, ONE))
    return example | {"image": towards(shaded, WHITE, jnp.clip(-dark, 0, ONE))}


def lighting_gradient(key: PRNGKeyArray, example: Example, *, strength: float = 0.4) -> Example:
    """A lamp on one side: light falls off linearly across the picture, in any direction.

    On the far corner it lacks an amount uniform in [0, strength] for each image, on the near one nothing.
    """
    image = example["image"]
    height, width, _ = image.shape
    angles = 2 * np.pi * np.arange(_ANGLES) / _ANGLES
    # A table, since a cosine may differ in its last bit from one compilation to the next.
    slopes = np.stack([np.cos(angles), np.sin(angles)], axis=1) / 4  # per half pixel, from 1/2 in the centre
    slopes /= np.maximum(0.5, abs(slopes) @ [[4.0 * (width - 1)], [4.0 * (height - 1)]] / 2) / 1.0
    (u, direction), _ = _draw(key, 2)
    amount = _amount(u, strength, "lighting_gradient")
    x, y = jnp.asarray(slopes, jnp.float32)[(direction * _ANGLES).astype(jnp.int32)]
    raise NotImplementedError
