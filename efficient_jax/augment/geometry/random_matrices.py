"""Random inverse matrices of rotations, shears, translations, zooms, affine maps and perspectives."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from efficient_jax.augment import ranges
from efficient_jax.augment.kernels.matrices import (
    compose,
    from_corners,
    from_points,
    rotation,
    shearing,
    translation,
    zooming,
)
from efficient_jax.augment.kernels.positions import Size
from efficient_jax.augment.kernels.targets import Inverse
from efficient_jax.augment.ranges import Range
from efficient_jax.errors import UserError


def random_rotation(key: PRNGKeyArray, size: Size, *, degrees: Range = 30.0) -> Inverse:
    """Returns the inverse warp of `rotate`.

    Args:
        key: a random key.
        size: (height, width) of the image.
        degrees: largest angle either way, 0.0 or more; or a range (lowest, highest).

    Returns: the matrix, see `kernels.matrices`.

    Raises: UserError for a negative angle, or a range that is not in order.
    """
    del size
    return rotation(_draw(key, ranges.changes(degrees, "rotate: degrees"))[0])


def random_shear(key: PRNGKeyArray, size: Size, *, x: Range = 0.3, y: Range = 0.0) -> Inverse:
    """Returns the inverse warp of `shear`.

    Args:
        key: a random key.
        size: (height, width) of the image.
        x, y: largest shear either way along x and along y, in pixels per pixel, 0.0 or more; or ranges (lowest,
            highest).

    Returns: the matrix, see `kernels.matrices`.

    Raises: UserError for a negative amount, or a range that is not in order.
    """
    del size
    return shearing(*_draw(key, ranges.changes(x, "shear: x"), ranges.changes(y, "shear: y")))


def random_translation(key: PRNGKeyArray, size: Size, *, x: Range = 0.1, y: Range = 0.1) -> Inverse:
    """Returns the inverse warp of `translate`.

    Args:
        key: a random key.
        size: (height, width) of the image.
        x, y: largest shift either way as a share of the width and of the height, 0.0 or more; or ranges (lowest,
            highest).

    Returns: the matrix, see `kernels.matrices`.

    Raises: UserError for a negative amount, or a range that is not in order.
    """
    right, down = _draw(key, ranges.changes(x, "translate: x"), ranges.changes(y, "translate: y"))
    return translation(right * size[1], down * size[0])


def random_zoom(key: PRNGKeyArray, size: Size, *, scale: Range = 0.2) -> Inverse:
    """Returns the inverse warp of `scale`.

    Args:
        key: a random key.
        size: (height, width) of the image.
        scale: zooms by up to 1 + scale and its inverse, 0.0 or more; or a range of factors (lowest, highest).

    Returns: the matrix, see `kernels.matrices`.

    Raises: UserError for a negative amount, or a range that is not in order from 0.001 on.
    """
    del size
    factor = jnp.exp(_draw(key, ranges.logarithms(scale, "scale: scale"))[0])
    return zooming(factor, factor)


def random_affine(
    key: PRNGKeyArray,
    size: Size,
    *,
    rotate: Range = 0.0,
    shear: Range = 0.0,
    translate: Range = 0.0,
    scale: Range = 0.0,
) -> Inverse:
    """Returns the inverse warp of `affine`: shear, zoom, turn and shift in this order.

    Args:
        key: a random key.
        size: (height, width) of the image.
        rotate, shear, translate, scale: amounts, see `affine`.

    Returns: the matrix, see `kernels.matrices`.

    Raises: UserError for a negative amount, or a range that is not in order.
    """
    amounts = {"rotate": rotate, "shear": shear, "translate": translate}
    turns, shears, shifts = (ranges.changes(amount, f"affine: {name}") for name, amount in amounts.items())
    along = [(shifts[0] * length, shifts[1] * length) for length in (size[1], size[0])]
    turn, along_x, along_y, right, down, larger = _draw(
        key, turns, shears, shears, *along, ranges.logarithms(scale, "affine: scale")
    )
    factor = jnp.exp(larger)
    return compose(shearing(along_x, along_y), zooming(factor, factor), rotation(turn), translation(right, down))


def random_perspective(key: PRNGKeyArray, size: Size, *, distortion: float = 0.5) -> Inverse:
    """Returns the inverse warp of `perspective`.

    Args:
        key: a random key.
        size: (height, width) of the image.
        distortion: largest shift of a corner as a share of half the side, in 0..2/3 (2/3 excluded).

    Returns: the matrix, see `kernels.matrices`.

    Raises: UserError for a distortion outside its range.
    """
    if not 0 <= distortion < 2 / 3:
        raise UserError(f"perspective: distortion {distortion} is not in 0..0.66, the share of half a side")
    height, width = size
    half = jnp.array([width / 2, height / 2], jnp.float32)
    corners = half * jnp.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], jnp.float32)
    inward = 1 - distortion * jax.random.uniform(key, (4, 2))
    return from_corners(corners * inward, (height, width))


def _through_points(
    key: PRNGKeyArray, size: Size, *, old: tuple[tuple[float, float], ...], new: tuple[tuple[float, float], ...]
) -> Inverse:
    del key
    for name, points in (("old", old), ("new", new)):
        given = np.array(points, np.float64) if all(len(point) == 2 for point in points) else np.zeros(0)
        if given.shape != (3, 2):
            raise UserError(f"affine_from_points: {name} = {points} is not three points (x, y)")
        sides = given[1:] - given[0]
        if abs(np.linalg.det(sides)) <= 1e-6 * np.abs(sides).max() ** 2:
            raise UserError(f"affine_from_points: {name} = {points} lie on one line; want the corners of a triangle")
    return from_points(jnp.asarray(old, jnp.float32), jnp.asarray(new, jnp.float32), size)


def _draw(key: PRNGKeyArray, *limits: tuple[float, float]) -> Float[Array, " n"]:
    """Draws a number uniform in each range (lowest, highest)."""
    middle = jnp.array([(low + high) / 2 for low, high in limits], jnp.float32)
    half = jnp.array([(high - low) / 2 for low, high in limits], jnp.float32)
    return middle + jax.random.uniform(key, (len(limits),), minval=-1.0) * half
