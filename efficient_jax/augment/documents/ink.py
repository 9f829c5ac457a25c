"""Ink: operations on printed pages, dark on white, and what they share with those on paper.

Most move each pixel some way towards another image, often black or white (`towards`). The ways are integers,
so that no pixel of a uint8 image depends on how the arithmetic was compiled. Each operation runs in a loop of its own:
where two met, XLA CPU would compute the pixels of the first anew for every byte that the second reads.
"""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, PRNGKeyArray, Shaped, UInt32

from efficient_jax.augment import noise
from efficient_jax.augment.kernels import loops, packed, pointwise, resample
from efficient_jax.augment.kernels.barrier import barrier
from efficient_jax.errors import UserError
from efficient_jax.types import Example

ONE = 1 << 16  # all the way
BLACK, WHITE = 0.0, 1.0

Image = Shaped[Array, "h w c"]
Way = Int32[Array, "h w"]  # in 0..ONE
Seed = UInt32[Array, " 2"]


def ink_bleed(key: PRNGKeyArray, example: Example, *, strength: float = 0.8, radius: int = 1) -> Example:
    """Makes strokes grow, with ragged edges: each pixel moves towards the darkest level within `radius` pixels.

    How far it moves is noise with details of two pixels, in [0, amount], with an amount uniform in [0, strength] for
    each image.

    Args:
        key, example: see types.Example.
        strength: largest share of the way towards the darkest level, in 0..1.
        radius: half the width of the square that is searched, in pixels, 0 or more; 1 makes strokes at most two pixels
            thicker.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    if radius < 0:
        raise UserError(f"ink_bleed: radius {radius} is negative; 1 makes strokes at most two pixels thicker")
    (u,), seed = draw(key, 1)

    def bleed(image: Image, amount: Int32[Array, ""], seed: Seed) -> Image:
        height, width, _ = image.shape
        return towards(image, _darkest(image, radius), amount * grain(seed, height, width) >> 8)

    amount = up_to(strength, u, "ink_bleed: strength")
    return example | {"image": loops.platform_loop(bleed)(example["image"], amount, seed)}


def _darkest(image: Image, radius: int) -> Image:
    """Returns the minimum over the square of pixels within `radius`, channel by channel."""
    height, width, _ = image.shape
    around = ((radius, radius), (radius, radius), (0, 0))
    padded = jnp.pad(image, around, constant_values=white(image))
    columns = reduce(jnp.minimum, [padded[i : i + height] for i in range(2 * radius + 1)])
    return reduce(jnp.minimum, [columns[:, i : i + width] for i in range(2 * radius + 1)])


def fading(key: PRNGKeyArray, example: Example, *, strength: float = 0.6, cells: tuple[int, int] = (4, 4)) -> Example:
    """Makes ink lighter, more in some places than in others.

    It loses a share that is smooth noise in [0, amount], with an amount uniform in [0, strength] for each image.

    Args:
        key, example: see types.Example.
        strength: largest share of the ink that is lost, in 0..1.
        cells: how many times the noise changes (down, across) the page, 1 or more each; (1, 60) makes streaks down the
            page, as a worn drum does.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    if len(cells) != 2 or min(cells) < 1:
        raise UserError(f"fading: cells {cells} are not (down, across), 1 or more each")
    (u,), seed = draw(key, 1)

    def fade(image: Image, amount: Int32[Array, ""], seed: Seed) -> Image:
        height, width, _ = image.shape
        return towards(image, WHITE, amount * clouds(seed, height, width, cells) >> 8)

    return example | {
        "image": loops.platform_loop(fade)(example["image"], up_to(strength, u, "fading: strength"), seed)
    }


def dithering(key: PRNGKeyArray, example: Example, *, size: int = 4) -> Example:
    """Makes the image black and white: luma against the thresholds of Bayer's ordered dither. Nothing is random.

    Args:
        key, example: see types.Example.
        size: side of the matrix in pixels, a power of two; a gray area shows `round(size^2 * level)` white pixels in
            each.

    Returns: the example with its image changed.

    Raises: UserError for a size that is not a power of two.
    """
    del key
    if size < 1 or size & (size - 1):
        raise UserError(f"dithering: size {size} is not a power of two; 4 and 8 are common")
    image = example["image"]
    height, width, channels = image.shape
    matrix = np.zeros((1, 1), int)
    while len(matrix) < size:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    rank = np.tile(matrix, (-(-height // size), -(-width // size)))[:height, :width]
    luma = pointwise.luma(packed.pack(image) if image.dtype == jnp.uint8 else image, channels)  # in 0..255
    bright = 2 * size**2 * luma > jnp.asarray(255 * (2 * rank + 1), luma.dtype)
    return example | {"image": jnp.broadcast_to(jnp.where(bright[..., None], white(image), 0), image.shape)}


def blot(
    key: PRNGKeyArray, example: Example, *, strength: float = 0.8, count: int = 2, radius: float = 0.02
) -> Example:
    """Puts drops of ink anywhere on the page, each merged from four round ones.

    Args:
        key, example: see types.Example.
        strength: largest darkness of the drops, in 0..1; uniform in [0, strength] for each image.
        count: drops on the page, in 1..255.
        radius: largest radius of the round ones as a share of the page's shorter side, above 0.0, at most 1.0; each
            drop's limit is uniform in [0, radius].

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    if not 1 <= count <= 255 or not 0 < radius <= 1:
        raise UserError(f"blot: want count in 1..255 and 0 < radius <= 1, got {count} and {radius}")
    image = example["image"]
    height, width, _ = image.shape
    u, _ = draw(key, 1 + 3 * count + 3 * 4 * count)
    largest, *place = u[1 : 1 + 3 * count].reshape(3, count, 1)
    smaller, *aside = u[1 + 3 * count :].reshape(3, count, 4)
    largest *= 16 * radius * min(height, width)  # lengths are in 16ths of a pixel
    reach = (largest * smaller).astype(jnp.int32) + 8
    # Gaussians that add up, cut at half the height of one, are round alone and flow together where they meet.
    bell = jnp.asarray(np.round(128 * 0.5 ** ((np.arange(257) / 64) ** 2)), jnp.float32)

    def along(axis: int) -> Float[Array, "parts length"]:
        length = image.shape[axis]
        center = (place[axis] * (16 * length)).astype(jnp.int32) + (largest * (4 * aside[axis] - 2)).astype(jnp.int32)
        apart = abs(16 * jnp.arange(length, dtype=jnp.int32) - center[..., None])
        entry = jnp.minimum(64 * apart // reach[..., None], 256)
        return bell.at[entry].get(mode="promise_in_bounds").reshape(-1, length)

    def drop(image: Image, down: Array, across: Array, amount: Int32[Array, ""]) -> Image:
        field = _exactly(down.T, across).astype(jnp.int32)
        return towards(image, BLACK, jnp.clip((field - (1 << 13)) * 16, 0, amount))

    amount = up_to(strength, u[0], "blot: strength")
    return example | {"image": loops.platform_loop(drop)(image, along(0), along(1), amount)}


def towards(image: Image, target: Image | float, way: Way) -> Image:
    """Moves each pixel `way / ONE` of the way from the image to the target.

    Args:
        image: [h w c], uint8 or float.
        target: another image of this shape and dtype, or a level in 0..1.
        way: int32 [h w] in 0..ONE; 0 keeps the pixel, ONE gives the target.

    Returns: the image, its dtype kept.
    """
    if image.dtype != jnp.uint8:
        return image + (way.astype(image.dtype) / ONE)[..., None] * (target - image)
    channels = image.shape[2]
    if isinstance(target, float):
        goal = jnp.uint32(packed.gray_pixel(round(255 * target), channels))
    else:
        goal = packed.pack(target)
    weight = ((way + 128) >> 8).astype(jnp.uint32)
    return packed.unpack(resample.lerp(packed.pack(image), goal, weight, channels), channels)


def multiply(one: Image, other: Shaped[Array, "#h #w c"]) -> Image:
    """Returns the product of two images as shares of white, as of two filters that light passes.

    Args:
        one, other: images of one dtype; the second may have one row or column for all.

    Returns: the product; uint8 levels are rounded.
    """
    if one.dtype != jnp.uint8:
        return one * other
    product = one.astype(jnp.uint16) * other.astype(jnp.uint16) + 128
    return ((product + (product >> 8)) >> 8).astype(jnp.uint8)  # over 255, rounded


def white(image: Image) -> Shaped[Array, ""]:
    """Returns the level of white.

    Args:
        image: gives the dtype.

    Returns: 255 for uint8, else 1, as a scalar of that dtype.
    """
    return jnp.asarray(255 if image.dtype == jnp.uint8 else 1, image.dtype)


def draw(key: PRNGKeyArray, count: int) -> tuple[Float[Array, " count"], Seed]:
    """Draws uniform numbers, and a seed for noise.

    Args:
        key: a random key.
        count: how many numbers.

    Returns: (float32 numbers in [0, 1), two uint32 words).
    """
    words = jax.random.bits(key, (count + 2,))
    return (words[2:] >> 8).astype(jnp.float32) / 2**24, words[:2]


def up_to(most: float, u: Float[Array, " *n"], name: str) -> Int32[Array, " *n"]:
    """Returns the share `u` of `most`, as an integer where ONE is 1.

    Args:
        most: the largest amount, in 0..1.
        u: numbers uniform in [0, 1).
        name: the operation and its argument, for the error message.

    Returns: int32 in 0..most * ONE, rounded down.

    Raises: UserError for a `most` outside 0..1.
    """
    if not 0 <= most <= 1:
        raise UserError(f"{name} {most} is not in 0..1")
    return (u * (most * ONE)).astype(jnp.int32)


def grain(seed: Seed, height: int, width: int) -> Int32[Array, "h w"]:
    """Returns noise in 0..255 with details of two pixels; its mean is 127, its standard deviation 55.

    Args:
        seed: two uint32 words.
        height, width: size of the field in pixels.

    Returns: int32 [h w].
    """
    x = _bytes(seed, height + 2, width + 2).astype(jnp.int32)
    rows = barrier(x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:])  # else it is computed three times
    total = rows[:-2] + 2 * rows[1:-1] + rows[2:]  # 16 times a mean, now stretched about the middle
    return jnp.clip((total - 1020) >> 3, 0, 255)


def clouds(seed: Seed, height: int, width: int, cells: tuple[int, int]) -> Int32[Array, "h w"]:
    """Returns smooth noise in 0..255, uniform at the corners of the cells.

    Args:
        seed: two uint32 words.
        height, width: size of the field in pixels.
        cells: how many cells (down, across), 1 or more each.

    Returns: int32 [h w].
    """

    def weights(length: int, cells: int) -> Float[Array, "length corners"]:
        place = cells * (np.arange(length) + 0.5) / length
        near = np.maximum(0, 1 - abs(place[:, None] - np.arange(cells + 1)))
        return jnp.asarray(np.round(64 * near**2 * (3 - 2 * near)), jnp.float32)  # no crease at the corners

    corners = _bytes(seed, cells[0] + 1, cells[1] + 1).astype(jnp.float32)
    field = _exactly(_exactly(weights(height, cells[0]), corners), weights(width, cells[1]).T)
    return field.astype(jnp.int32) >> 12


def _exactly(a: Float[Array, "h n"], b: Float[Array, "n w"]) -> Float[Array, "h w"]:
    """Returns the product of matrices of integers. Sums below 2**24 are exact in float32, in whichever order."""
    return jnp.matmul(a, b, precision="highest")


def _bytes(seed: Seed, height: int, width: int) -> UInt32[Array, "h w"]:
    return noise.hashed(jnp.arange(height * width, dtype=jnp.uint32).reshape(height, width), seed) >> 24
