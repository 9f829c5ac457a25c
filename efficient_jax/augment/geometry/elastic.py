"""Changes of geometry that bend lines."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from efficient_jax.augment.kernels import loops, resample, targets
from efficient_jax.augment.kernels.dtypes import Fill
from efficient_jax.augment.kernels.positions import Size
from efficient_jax.errors import UserError
from efficient_jax.types import Example

Field = Float[Array, "2 h w"]  # how far along x and along y each pixel of the new image looks into the old one
Seen = tuple[Float[Array, "h2 w2"], Float[Array, "h2 w2"]]
Forward = Callable[[targets.Points], targets.Points]
POINTS_PER_SIDE = 8  # of a box, moved to find its hull


def elastic(
    key: PRNGKeyArray,
    example: Example,
    *,
    alpha: float = 30.0,
    sigma: float = 5.0,
    fill: Fill = 0.0,
    border: str = "constant",
) -> Example:
    """Moves every pixel by its own random amount, smooth over neighbours (Simard et al. 2003).

    The displacement is noise, uniform in -1..1, blurred by a Gaussian of `sigma` pixels and multiplied by `alpha`: its
    standard deviation is about 0.16 alpha / sigma pixels. Beyond 0.3 sigma the image begins to fold. Points and the
    corners of boxes are moved by inverting the field, ten steps of a fixed-point iteration.

    Args:
        key, example: see types.Example.
        alpha: factor of the blurred noise in pixels, 0.0 or more; 0.0 changes nothing.
        sigma: standard deviation of the Gaussian in pixels, above 0.0.
        fill: level outside the image where `border` is constant, in 0..1, one level or one for each channel.
        border: what lies outside the image: constant, edge or reflect, see `affine`; masks always get 0.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for settings outside their ranges.
    """
    image = example["image"]
    seen, forward = random_bending(key, image.shape[:2], alpha=alpha, sigma=sigma)
    moved = targets.move_to(example, seen, forward, POINTS_PER_SIDE)
    return moved | {"image": resample.warp_to(image, *seen, fill, border)}


def random_bending(key: PRNGKeyArray, size: Size, *, alpha: float, sigma: float) -> tuple[Seen, Forward]:
    """Returns the displacements of `elastic`, as the points that pixels show and as a change of points.

    Args:
        key: a random key.
        size: (height, width) of the image.
        alpha: factor of the blurred noise in pixels, 0.0 or more.
        sigma: standard deviation of the Gaussian in pixels, above 0.0.

    Returns: ((x, y) float [h w], the points that the pixels show, in pixels from the upper left pixel; a function from
        points of the old image to points of the new one, in pixels from the center).

    Raises: UserError for settings outside their ranges.
    """
    if alpha < 0 or sigma <= 0:
        raise UserError(f"elastic: want alpha >= 0 and sigma > 0, got {alpha} and {sigma}")
    height, width = size
    noise = jax.random.uniform(key, (2, height, width), minval=-1.0)
    rows, columns = alpha * _gaussian(height, sigma), _gaussian(width, sigma)  # numpy: constants of the loop

    def smooth(noise: Field) -> Field:
        return jnp.matmul(jnp.matmul(rows, noise, precision="highest"), columns.T, precision="highest")

    field = loops.platform_loop(smooth)(noise)
    x = jnp.arange(width, dtype=jnp.float32) + field[0]
    y = jnp.arange(height, dtype=jnp.float32)[:, None] + field[1]
    return (x, y), partial(_against, field)


def _gaussian(length: int, sigma: float) -> Float[np.ndarray, "n n"]:
    """Returns a blur as a matrix. Beyond the border is 0, so pixels next to it move less."""
    distance = np.arange(length)[:, None] - np.arange(length)
    kernel = np.exp(-(np.arange(-8 * int(np.ceil(sigma)), 8 * int(np.ceil(sigma)) + 1) ** 2) / (2 * sigma**2))
    blur: np.ndarray = (np.exp(-(distance**2) / (2 * sigma**2)) / kernel.sum()).astype(np.float32)
    return blur


def _against(field: Field, points: Float[Array, "n 2"]) -> Float[Array, "n 2"]:
    """Returns points of the new image for points of the old one, both from the center."""
    _, height, width = field.shape
    start = points + jnp.array([(width - 1) / 2, (height - 1) / 2])
    place = start
    for _ in range(10):
        shift = [jax.scipy.ndimage.map_coordinates(f, [place[:, 1], place[:, 0]], 1, mode="nearest") for f in field]
        place = start - jnp.stack(shift, -1)
    return points + (place - start)


def grid_distortion(key: PRNGKeyArray, example: Example, *, steps: int = 5, limit: float = 0.3) -> Example:
    """Cuts the image into columns and rows and stretches each by a factor uniform in 1 +- limit.

    All are scaled to fill the image again: nothing leaves it.

    Args:
        key, example: see types.Example.
        steps: columns, and rows, 1 or more.
        limit: largest relative change of a column's width or a row's height, in 0..1 (1 excluded).

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for settings outside their ranges.
    """
    if steps < 1 or not 0 <= limit < 1:
        raise UserError(f"grid_distortion: want steps >= 1 and 0 <= limit < 1, got {steps} and {limit}")
    image = example["image"]
    height, width, _ = image.shape
    widths = 1 + limit * jax.random.uniform(key, (2, steps), minval=-1.0)
    inner = jnp.cumsum(widths, axis=1) / jnp.sum(widths, axis=1, keepdims=True)
    edges = jnp.concatenate([jnp.zeros((2, 1)), inner[:, :-1], jnp.ones((2, 1))], axis=1)
    even = jnp.linspace(0.0, 1.0, steps + 1)
    lengths = (width, height)

    def looks(axis: int) -> Float[Array, " n"]:
        middle = (jnp.arange(lengths[axis], dtype=jnp.float32) + 0.5) / lengths[axis]
        return jnp.interp(middle, even, edges[axis]) * lengths[axis] - 0.5

    def forward(points: Float[Array, "n 2"]) -> Float[Array, "n 2"]:
        share = points / jnp.array(lengths, jnp.float32) + 0.5
        moved = jnp.stack([jnp.interp(share[:, axis], edges[axis], even) for axis in (0, 1)], -1)
        return (moved - 0.5) * jnp.array(lengths, jnp.float32)

    x, y = looks(0), looks(1)
    seen = jnp.broadcast_to(x, (height, width)), jnp.broadcast_to(y[:, None], (height, width))
    moved = targets.move_to(example, seen, forward, points_per_side=1)
    return moved | {"image": resample.stretch(image, y, x)}
