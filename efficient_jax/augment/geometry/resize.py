"""Resizing, and crops of a random size and shape that are resized."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from efficient_jax.augment.geometry.crop_flip import checked_size
from efficient_jax.augment.kernels import resample, targets
from efficient_jax.augment.kernels.matrices import compose, translation, zooming
from efficient_jax.augment.kernels.positions import Size
from efficient_jax.augment.kernels.targets import Inverse
from efficient_jax.errors import UserError
from efficient_jax.types import Example

Window = Float[Array, " 4"]  # top, left, height, width, in pixels and parts of them


def resize(key: PRNGKeyArray, example: Example, *, size: tuple[int, int]) -> Example:
    """Resizes the whole image, bilinear; where it gets smaller each pixel averages what it covers.

    Args:
        key, example: see types.Example.
        size: (height, width) of the result in pixels, 1 or more each; (0, 0) keeps the image's size.

    Returns: the example with its image, masks, boxes and keypoints at the new size.

    Raises: UserError for another form of `size`.
    """
    del key
    return _show(example, *_whole(example["image"].shape[:2], size))


def _whole(old: Size, size: tuple[int, int]) -> tuple[Window, Size]:
    return jnp.array([0, 0, *old], jnp.float32), checked_size(old, size, "resize")


def random_resized_crop(
    key: PRNGKeyArray,
    example: Example,
    *,
    size: tuple[int, int] = (0, 0),
    area_min: float = 0.08,
    area_max: float = 1.0,
    ratio: float = 4 / 3,
) -> Example:
    """Resizes a window of random area and shape (arXiv 1409.4842).

    The area is uniform in area_min..area_max of the image's, the logarithm of width / height uniform in 1 /
    ratio..ratio, among the windows that fit (torchvision draws until one does), at a uniform place; where none fits,
    the largest window of an allowed shape in the middle. Its edges are not rounded to pixels, and next to them the
    image beyond is seen.

    Args:
        key, example: see types.Example.
        size: (height, width) of the result in pixels, 1 or more each; (0, 0) keeps the image's size.
        area_min: smallest share of the image's area that the window has, above 0.0.
        area_max: largest share of the image's area that the window has, in area_min..1.
        ratio: largest width / height of the window, 1.0 or more; the smallest is 1 / ratio.

    Returns: the example with its image, masks, boxes and keypoints at the new size.

    Raises: UserError for settings outside their ranges.
    """
    window = random_window(key, example["image"].shape[:2], area_min, area_max, ratio)
    return _show(example, window, checked_size(example["image"].shape, size, "random_resized_crop"))


def random_window(key: PRNGKeyArray, old: Size, area_min: float, area_max: float, ratio: float) -> Window:
    """Returns the window that `random_resized_crop` shows of an image.

    Args:
        key: a random key.
        old: (height, width) of the image.
        area_min, area_max: smallest and largest area as a share of the image's, above 0.0 and in order up to 1.0.
        ratio: largest width / height, 1.0 or more; the smallest is 1 / ratio.

    Returns: (top, left, height, width) in pixels and parts of them.

    Raises: UserError for settings outside their ranges.
    """
    if not 0 < area_min <= area_max <= 1 or ratio < 1:
        got = f"{area_min}, {area_max}, {ratio}"
        raise UserError(f"random_resized_crop: want 0 < area_min <= area_max <= 1 and ratio >= 1, got {got}")
    height, width = old
    quantiles = _areas_that_fit(height, width, area_min, area_max, math.log(ratio))
    if quantiles is None:
        shape = min(max(width / height, 1 / ratio), ratio)
        rows, columns = min(height, width / shape), min(width, height * shape)
        return jnp.array([(height - rows) / 2, (width - columns) / 2, rows, columns], jnp.float32)
    draws = jax.random.uniform(key, (4,))
    step = draws[0] * (len(quantiles) - 1)
    below = step.astype(jnp.int32)
    table = jnp.asarray(quantiles)
    area = table[below] + (step - below.astype(jnp.float32)) * (table[below + 1] - table[below])
    least = jnp.maximum(-math.log(ratio), jnp.log(area / height**2))
    most = jnp.minimum(math.log(ratio), jnp.log(width**2 / area))
    across_by_down = jnp.exp(least + draws[1] * (most - least))
    down = jnp.minimum(jnp.sqrt(area / across_by_down), height)
    across = jnp.minimum(jnp.sqrt(area * across_by_down), width)
    return jnp.stack([draws[2] * (height - down), draws[3] * (width - across), down, across])


def _areas_that_fit(
    height: int, width: int, area_min: float, area_max: float, log_ratio: float
) -> Float[np.ndarray, " q"] | None:
    """Returns 257 quantiles of the area of windows that fit, in pixels: one draw instead of repeated ones."""
    areas = np.linspace(area_min, area_max, 4097) * (height * width)
    shapes = np.minimum(log_ratio, np.log(width**2 / areas)) - np.maximum(-log_ratio, np.log(areas / height**2))
    weight = np.maximum(shapes, 0) if log_ratio > 0 else (shapes >= 0).astype(float)
    if not weight.any():
        return None
    below = np.concatenate([[0], np.cumsum((weight[1:] + weight[:-1]) / 2)])
    if below[-1] == 0:  # one area only
        return np.full(2, areas[weight.argmax()], np.float32)
    return np.interp(np.linspace(0, below[-1], 257), below, areas).astype(np.float32)


def _show(example: Example, window: Window, size: Size) -> Example:
    """Returns the example with a window of its image at `size`."""
    image = example["image"]
    moved = targets.move(example, through_window(window, image.shape[:2], size), size)
    return moved | {"image": shown(image, window, size)}


def through_window(window: Window, old: Size, size: Size) -> Inverse:
    """Returns the inverse warp that shows a window at another size.

    Args:
        window: (top, left, height, width) in the image, in pixels.
        old: (height, width) of the image.
        size: (height, width) of the result.

    Returns: matrix from points of the result to points of the image, see `kernels.matrices`.
    """
    top, left, rows, columns = window
    right_of_center, below_center = left + (columns - old[1]) / 2, top + (rows - old[0]) / 2
    return compose(translation(-right_of_center, -below_center), zooming(size[1] / columns, size[0] / rows))


def shown(image: Shaped[Array, "h w c"], window: Window, size: Size) -> Shaped[Array, "h2 w2 c"]:
    """Returns a window of the image at another size: bilinear, or averaged where a side is smaller than the image's.

    Args:
        image: [h w c], uint8 or float.
        window: (top, left, height, width) in the image, in pixels.
        size: (height, width) of the result.

    Returns: [h2 w2 c] of `size`, the dtype kept.
    """
    height, width, _ = image.shape
    if size[0] < height or size[1] < width:
        return _averaged(image, window, size)
    top, left, rows, columns = window
    y = top + (jnp.arange(size[0], dtype=jnp.float32) + 0.5) * (rows / size[0]) - 0.5
    x = left + (jnp.arange(size[1], dtype=jnp.float32) + 0.5) * (columns / size[1]) - 0.5
    return resample.stretch(image, y, x)


def _averaged(image: Shaped[Array, "h w c"], window: Window, size: Size) -> Shaped[Array, "h2 w2 c"]:
    """Resizes with Pillow's triangle filter as wide as an output pixel: a matrix product for each axis."""
    factor = jnp.array(size, jnp.float32) / window[2:]
    shown = jax.image.scale_and_translate(
        image.astype(jnp.float32),
        (*size, image.shape[2]),
        (0, 1),
        factor,
        -window[:2] * factor,
        method="linear",
        precision=jax.lax.Precision.HIGHEST,
    )
    if image.dtype != jnp.uint8:
        return jnp.clip(shown, image.min(), image.max())  # a mean; the weights sum to 1 but for rounding
    return jnp.round(shown).astype(jnp.uint8)


def _resize_window(key: PRNGKeyArray, old: Size, *, size: tuple[int, int]) -> tuple[Window, Size]:
    del key
    return _whole(old, size)


def _random_resized_window(
    key: PRNGKeyArray, old: Size, *, size: tuple[int, int], area_min: float, area_max: float, ratio: float
) -> tuple[Window, Size]:
    return random_window(key, old, area_min, area_max, ratio), checked_size(old, size, "random_resized_crop")


WINDOWS: dict[str, Callable[..., tuple[Window, Size]]] = {
    "resize": _resize_window,
    "random_resized_crop": _random_resized_window,
}
