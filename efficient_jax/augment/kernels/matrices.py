"""Matrices of changes that keep lines straight: they multiply, so one resample is enough for all of them."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.augment.kernels import targets
from efficient_jax.augment.kernels.positions import Size
from efficient_jax.augment.kernels.targets import Inverse

Scalar = Float[Array, ""] | float
# An inverse warp takes a point (x, y, 1) of the new image to the point of the old one that it shows. x grows to
# the right, y downwards, and (0, 0) is the center of the image, ((w - 1) / 2, (h - 1) / 2), so no matrix depends
# on the image's size. Changing an image by A and then by B is changing it by A @ B.


def rotation(degrees: Scalar) -> Inverse:
    """Turns the image counter-clockwise about its center, as `numpy.rot90` does.

    Args:
        degrees: angle.

    Returns: the inverse warp.
    """
    angle = jnp.asarray(degrees, jnp.float32) * (math.pi / 180)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _matrix(cos, -sin, 0.0, sin, cos, 0.0)


def shearing(x: Scalar, y: Scalar) -> Inverse:
    """Moves rows to the left by `x` per pixel below the center, columns up by `y` per pixel to the right.

    Args:
        x, y: pixels per pixel.

    Returns: the inverse warp.
    """
    return _matrix(1.0, x, 0.0, y, 1.0, 0.0)


def translation(x: Scalar, y: Scalar) -> Inverse:
    """Moves the image to the right and down.

    Args:
        x, y: pixels to the right and down.

    Returns: the inverse warp.
    """
    return _matrix(1.0, 0.0, -jnp.asarray(x), 0.0, 1.0, -jnp.asarray(y))


def zooming(x: Scalar, y: Scalar) -> Inverse:
    """Enlarges the image about its center.

    Args:
        x, y: factors across and down, not 0; negative ones mirror.

    Returns: the inverse warp.
    """
    return _matrix(1 / jnp.asarray(x), 0.0, 0.0, 0.0, 1 / jnp.asarray(y), 0.0)


def compose(*matrices: Inverse) -> Inverse:
    """Returns several changes as one.

    Args:
        *matrices: inverse warps, that of the first change first.

    Returns: the inverse warp, the matrix product.
    """
    product, *rest = matrices
    for matrix in rest:
        product = jnp.matmul(product, matrix, precision="highest")
    return product


def from_points(old: Float[Array, "3 2"], new: Float[Array, "3 2"], size: Size) -> Inverse:
    """Returns the affine change that moves three points of an image from `old` to `new`.

    Args:
        old, new: points (x, y), not on one line, in pixels from the center of the upper left pixel, as in
            cv2.getAffineTransform.
        size: (height, width) of the image.

    Returns: the inverse warp.
    """
    center = jnp.array([(size[1] - 1) / 2, (size[0] - 1) / 2], jnp.float32)
    corners = [jnp.concatenate([(points - center).T, jnp.ones((1, 3))]) for points in (old, new)]
    return jnp.matmul(corners[0], targets.inverted(corners[1]), precision="highest")


def from_corners(moved: Float[Array, "4 2"], size: Size) -> Inverse:
    """Returns the perspective that moves the corners of an image to `moved`.

    Corners are the outer corners of the corner pixels. Heckbert (1989), "Fundamentals of texture mapping and image
    warping", section 2.2.3: the square to a quadrangle.

    Args:
        moved: upper left, upper right, lower right and lower left corner (x, y), in pixels from the center of the
            image.
        size: (height, width) of the image.

    Returns: the inverse warp, scaled so that its last entry is 1.
    """
    a, b, c, d = moved
    right, down, twist = b - c, d - c, a - b + c - d
    depth = right[0] * down[1] - down[0] * right[1]
    g = (twist[0] * down[1] - down[0] * twist[1]) / depth
    h = (right[0] * twist[1] - twist[0] * right[1]) / depth
    rows = jnp.stack([b - a + g * b, d - a + h * d, a], axis=1)
    quadrangle = jnp.concatenate([rows, jnp.stack([g, h, jnp.ones_like(g)])[None]])
    onto_square = _matrix(1 / size[1], 0.0, 0.5, 0.0, 1 / size[0], 0.5)
    inverse = targets.inverted(jnp.matmul(quadrangle, onto_square, precision="highest"))
    return inverse / inverse[2, 2]


def _matrix(*entries: Scalar) -> Inverse:
    return jnp.stack([jnp.asarray(entry, jnp.float32) for entry in (*entries, 0.0, 0.0, 1.0)]).reshape(3, 3)


def seen_through(inverse: Inverse, old: Size, size: Size) -> tuple[Float[Array, "h2 w2"], Float[Array, "h2 w2"]]:
    """Returns the points of the old image that the pixels of the new one show.

    Args:
        inverse: an inverse warp, affine or a perspective.
        old, size: (height, width) of the old and of the new image.

    Returns: (x, y), each [h2 w2], in pixels from the center of the old image's upper left pixel.
    """
    x = jnp.arange(size[1], dtype=jnp.float32) - (size[1] - 1) / 2
    y = (jnp.arange(size[0], dtype=jnp.float32) - (size[0] - 1) / 2)[:, None]
    along_x, along_y, depth = (row[0] * x + row[1] * y + row[2] for row in inverse)
    depth = jnp.maximum(depth, targets.NEAREST)  # the horizon is outside the old image, but not the array
    return along_x / depth + (old[1] - 1) / 2, along_y / depth + (old[0] - 1) / 2
