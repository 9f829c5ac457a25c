"""Operations on neighbourhoods: each pixel becomes a weighted mean of the pixels around it.

Beyond its border the image is mirrored about the outermost pixels, repeatedly where it is small.

An image is handled as rows [h, w * c] whose neighbours are c apart: long loops that vectorise, whatever c is. The
weights of uint8 images are integers out of tables, so that no pixel depends on how the arithmetic was compiled.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int32, Num, PRNGKeyArray, Shaped, UInt32

from efficient_jax.augment import ranges
from efficient_jax.augment.kernels import loops
from efficient_jax.augment.kernels.barrier import barrier
from efficient_jax.augment.kernels.packed import EVEN, Pixels
from efficient_jax.augment.ranges import Range
from efficient_jax.errors import UserError
from efficient_jax.types import Example

SIGMAS = 1024  # standard deviations that gaussian_blur draws from
ANGLES = 256  # directions that motion_blur draws from
_BITS = 16  # integer weights sum to 2**16


def smooth(pixels: Pixels) -> Pixels:
    """Returns the image of Pillow's SMOOTH filter, the reference of `sharpness`: 3x3 weights 1 around a 5, over 13.

    Args:
        pixels: packed pixels [h w], see `kernels.packed`.

    Returns: packed pixels [h w]; the outermost ones stay as they are.
    """

    def two_channels(lanes: Pixels) -> UInt32[Array, "h2 w2"]:
        rows = barrier(lanes[:-2] + lanes[1:-1] + lanes[2:])
        total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * lanes[1:-1, 1:-1]
        return _thirteenth(total & 0xFFFF) | _thirteenth(total >> 16) << 16

    inner = two_channels(pixels & EVEN) | two_channels((pixels >> 8) & EVEN) << 8
    return pixels.at[1:-1, 1:-1].set(inner)


def _thirteenth(total: Num[Array, " ..."]) -> Num[Array, " ..."]:
    """Returns `total / 13` rounded, by a multiplication: exact for sums of 13 bytes."""
    return (2 * total + 13) * 10083 >> 18


def sharpness(key: PRNGKeyArray, example: Example, *, strength: Range) -> Example:
    """Multiplies each level's distance from the smoothed image by a random factor, and clips.

    The factor is uniform in [max(0, 1 - strength), 1 + strength]. The outermost pixels stay as they are. uint8 images
    change as with Pillow's ImageEnhance.Sharpness, level for level.

    Args:
        key, example: see types.Example.
        strength: largest relative change either way, 0.0 or more; or a range of factors (lowest, highest): (1.0, 2.0)
            only sharpens.

    Returns: the example with its image changed.

    Raises: UserError for a negative strength, or a range that is not in order.
    """
    low, high = ranges.factors(strength, "sharpness: strength")
    factor = jax.random.uniform(key, minval=low, maxval=high)
    image = example["image"]
    levels = image.astype(jnp.uint16) if image.dtype == jnp.uint8 else image
    columns = _correlate(_mirrored(levels, rows=1), [1, 1, 1], axis=0).reshape(image.shape)
    total = _correlate(_mirrored(columns, columns=1), [1, 1, 1], axis=1, step=image.shape[2])
    levels = levels.reshape(total.shape)
    total += 4 * levels
    if image.dtype == jnp.uint8:
        reference, levels = _thirteenth(total.astype(jnp.int32)), levels.astype(jnp.int32)
        factor = jnp.round(1024 * factor).astype(jnp.int32)  # of 1024ths Pillow's float32 is exact too
        sharp = jnp.clip((1024 * reference + factor * (levels - reference)) >> 10, 0, 255).astype(jnp.uint8)
    else:
        reference = total / 13
        sharp = jnp.clip(reference + factor * (levels - reference), 0, 1)
    inside = np.zeros(image.shape, bool)
    inside[1:-1, 1:-1] = True
    return example | {"image": jnp.where(inside, sharp.reshape(image.shape), image)}


def gaussian_blur(
    key: PRNGKeyArray, example: Example, *, kernel: int = 5, sigma_min: float = 0.1, sigma_max: float = 2.0
) -> Example:
    """Blurs with a normal density whose standard deviation is uniform in [sigma_min, sigma_max] for each image.

    SimCLR (arXiv 2002.05709) draws from the default deviations and makes the kernel a tenth of the image's side. uint8
    results are within 0.6 levels of exact arithmetic.

    Args:
        key, example: see types.Example.
        kernel: width of the kernel in pixels, odd, 1 or more; the weights are normalised over it.
        sigma_min: smallest standard deviation in pixels, above 0.0.
        sigma_max: largest standard deviation in pixels, `sigma_min` or more.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise UserError(f"gaussian_blur: kernel {kernel} is not an odd number of pixels")
    if not 0 < sigma_min <= sigma_max:
        raise UserError(f"gaussian_blur: 0 < sigma_min <= sigma_max does not hold for {sigma_min} and {sigma_max}")
    image = example["image"]
    radius, channels = kernel // 2, image.shape[2]
    distance = np.arange(-radius, radius + 1) / np.linspace(sigma_min, sigma_max, SIGMAS)[:, None]
    density = np.exp(-(distance**2) / 2)
    table = density / density.sum(axis=1, keepdims=True)

    rows = _mirrored(image, rows=radius)
    if image.dtype == jnp.uint8:
        weights = _choose(key, _in_integers(table))
        # 8 bits stay behind the point between the passes. The sums fit: all weights together are 2**16.
        columns = (_correlate(rows, weights, axis=0) + (1 << 7) >> 8).astype(jnp.uint16)
        padded = _mirrored(columns.reshape(image.shape), columns=radius)
        blurred = (_correlate(padded, weights, axis=1, step=channels) + (1 << 23) >> 24).astype(jnp.uint8)
    else:
        weights = _choose(key, table.astype(np.float32)).astype(image.dtype)
        columns = _correlate(rows, weights, axis=0)
        padded = _mirrored(columns.reshape(image.shape), columns=radius)
        blurred = jnp.clip(_correlate(padded, weights, axis=1, step=channels), 0, 1)
    return example | {"image": blurred.reshape(image.shape)}


def motion_blur(key: PRNGKeyArray, example: Example, *, length: int = 7, angle: float = 90.0) -> Example:
    """Replaces each pixel by the mean along a line through it, as if the camera had moved.

    Args:
        key, example: see types.Example.
        length: length of the line in pixels, 1 or more; 1 changes nothing.
        angle: largest angle between the line and the horizontal in degrees, either way, in 0..90; 90 is every
            direction.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    if length < 1 or not 0 <= angle <= 90:
        raise UserError(f"motion_blur: length {length} is not 1 pixel or more, or angle {angle} is not in 0..90")
    image = example["image"]
    table = _in_integers(line_kernels(length, angle).reshape(ANGLES, -1))
    # Most of the square is zero: keep the largest weights and where they are.
    where = np.argsort(-table.astype(np.int64), axis=1, kind="stable")[:, : np.count_nonzero(table, axis=1).max()]
    radius = length // 2
    y, x = np.divmod(where, 2 * radius + 1)
    taps = np.stack([np.take_along_axis(table, where, axis=1), y, x * image.shape[2]], axis=1)
    weights, y, x = _choose(key, taps.astype(np.int32))
    shape = (image.shape[0], image.shape[1] * image.shape[2])
    blurred = loops.platform_loop(partial(_gathered, shape=shape))(
        _mirrored(image, rows=radius, columns=radius), weights, y, x
    )
    return example | {"image": blurred.reshape(image.shape)}


def line_kernels(length: int, angle: float) -> Float[np.ndarray, "angles k k"]:
    """Returns kernels of `length` points a pixel apart on a line, each shared linearly among its four neighbours.

    Args:
        length: points on the line, 1 or more.
        angle: largest angle in degrees; the lines turn counter-clockwise from -angle to angle.

    Returns: float64 [ANGLES k k] that sum to 1 each; k is `length`, or the next odd number.
    """
    radius = length // 2
    turns = np.radians(angle) * (2 * np.arange(ANGLES)[:, None] + 1 - ANGLES) / ANGLES
    along = np.arange(length) - (length - 1) / 2
    x, y = radius + along * np.cos(turns), radius - along * np.sin(turns)
    pixel = np.arange(2 * radius + 1)
    near_x, near_y = (np.maximum(0, 1 - np.abs(p[..., None] - pixel)) for p in (x, y))
    lines: np.ndarray = np.einsum("apy,apx->ayx", near_y, near_x) / length
    return lines


def _gathered(
    padded: Shaped[Array, "ph pw"],
    weights: Int32[Array, " taps"],
    y: Int32[Array, " taps"],
    x: Int32[Array, " taps"],
    *,
    shape: tuple[int, int],
) -> Shaped[Array, "h w"]:
    """Returns the weighted sum of windows of `shape` that start at (y, x). For use inside a `platform_loop`."""
    exact = padded.dtype == jnp.uint8
    dtype = jnp.dtype(jnp.int32) if exact else padded.dtype
    total = jnp.full(shape, (1 << _BITS) // 2 if exact else 0, dtype)
    for weight, *start in zip(weights.astype(dtype), y, x, strict=True):
        total += weight * lax.dynamic_slice(padded, start, shape).astype(dtype)
    return (total >> _BITS).astype(jnp.uint8) if exact else jnp.clip(total / (1 << _BITS), 0, 1)


def _choose(key: PRNGKeyArray, table: Shaped[np.ndarray, " n *rest"]) -> Shaped[Array, " *rest"]:
    """Returns a uniformly drawn row."""
    row = (jax.random.uniform(key) * len(table)).astype(jnp.int32)
    return jnp.asarray(table).at[row].get(mode="promise_in_bounds")


def _in_integers(kernels: Float[np.ndarray, "n taps"]) -> Shaped[np.ndarray, "n taps"]:
    """Returns weights as uint32 that sum to 2**16 exactly, so that a constant image stays as it is."""
    integers = np.round(kernels * (1 << _BITS)).astype(np.int64)
    rest = (1 << _BITS) - integers.sum(axis=1)
    integers[np.arange(len(integers)), integers.argmax(axis=1)] += rest
    return integers.astype(np.uint32)


def _mirrored(image: Shaped[Array, "h w c"], *, rows: int = 0, columns: int = 0) -> Shaped[Array, "ph pwc"]:
    """Returns the rows of the image, mirrored by `rows` and `columns` pixels on each side."""
    padded = jnp.pad(image, ((rows, rows), (columns, columns), (0, 0)), mode="reflect")
    return padded.reshape(len(padded), -1)


def _correlate(
    x: Shaped[Array, "ph pw"], weights: Num[Array, " taps"] | list[int], *, axis: int, step: int = 1
) -> Num[Array, "h w"]:
    """Returns the weighted sum of elements `step` apart, for a symmetric kernel."""
    dtype = getattr(weights, "dtype", x.dtype)
    middle = len(weights) // 2
    size = x.shape[axis] - 2 * middle * step

    def tap(i: int) -> Num[Array, "h w"]:
        return lax.slice_in_dim(x, i * step, i * step + size, axis=axis).astype(dtype)

    total = weights[middle] * tap(middle)
    for i in range(middle):
        total += weights[i] * (tap(i) + tap(len(weights) - 1 - i))
    return total
