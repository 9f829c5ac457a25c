"""Where the pixels of an output lie in its source, in fixed point."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32

Matrix = Int32[Array, "2 3"]
Size = tuple[int, ...]  # height, width
Position = Int32[Array, "h2 w2"]  # one coordinate of the point of the source that each output pixel shows

MOST_OUT = 16.0
BORDERS = ("constant", "edge", "reflect")
"""What is seen outside an image: a constant level, the nearest pixel, or the image mirrored about the center of its
outermost pixels. The modes of the same name of `numpy.pad`; scipy.ndimage says constant, nearest and mirror."""


def fraction_bits(*sizes: Size) -> int:
    """Returns the bits behind the point of an integer matrix: as many as keep every coordinate inside int32.

    Args:
        *sizes: (height, width) of every image that the matrix connects.

    Returns: at most 16 bits.
    """
    return min(16, 25 - max(height + width for height, width in sizes).bit_length())


def fixed_point(matrix: Float[Array, "2 3"], source: Size, size: Size) -> Matrix:
    """Returns the integer form of an inverse warp.

    Args:
        matrix: takes a point of the output to the point of the input, in pixels from the center. It zooms out at most
            MOST_OUT times beyond what `size` makes smaller.
        source, size: (height, width) of the input and of the output.

    Returns: integers with `fraction_bits(source, size)` bits behind the point.
    """
    return jnp.round(_scaled(matrix, source, size)).astype(jnp.int32)


def _scaled(matrix: Float[Array, "2 3"], source: Size, size: Size) -> Float[Array, "2 3"]:
    unit: int = 2 ** fraction_bits(source, size)
    return within_limits(matrix, source, size) * unit


def within_limits(matrix: Float[Array, "2 3"], source: Size, size: Size) -> Float[Array, "2 3"]:
    """Returns an inverse warp clipped to what integer coordinates can hold.

    Args:
        matrix: takes a point of the output to the point of the input, in pixels from the center.
        source, size: (height, width) of the input and of the output.

    Returns: the matrix: it zooms out at most MOST_OUT times beyond what `size` makes smaller.
    """
    down, across = (MOST_OUT * max(1.0, old / new) for old, new in zip(source, size, strict=True))
    far = 2.0 * max(sum(source), sum(size))
    limit = jnp.array([[across, MOST_OUT, far], [MOST_OUT, down, far]])
    return jnp.clip(matrix, -limit, limit)


def affine_positions(matrix: Matrix, source: Size, size: Size, border: str) -> tuple[Position, Position]:
    """Returns the point that each output pixel shows: (x, y) with `fraction_bits + 1` bits behind the point.

    Args:
        matrix: the integer form of an inverse warp, see `fixed_point`.
        source, size: (height, width) of the input and of the output.
        border: one of BORDERS.
    """
    bits = fraction_bits(source, size)
    across = 2 * jnp.arange(size[1], dtype=jnp.int32) - (size[1] - 1)  # in half pixels from the center: integers
    down = (2 * jnp.arange(size[0], dtype=jnp.int32) - (size[0] - 1))[:, None]

    def along(row: Int32[Array, " 3"], length: int) -> Position:
        position = row[0] * across + row[1] * down + (2 * row[2] + ((length - 1) << bits))
        return _inside(position, length, bits + 1, border)

    return along(matrix[0], source[1]), along(matrix[1], source[0])


def onto_ring(position: Position, length: int, bits: int) -> Position:
    """Clips points more than a pixel outside to the ring around the image, where everything is fill.

    Args:
        position: one coordinate of each point.
        length: height or width of the image in pixels.
        bits: number of bits behind the point.
    """
    return jnp.clip(position, -(1 << bits), (length << bits) - 1)


def _inside(position: Position, length: int, bits: int, border: str) -> Position:
    """Returns the point that the border mode shows in place of one outside."""
    last = (length - 1) << bits
    if border == "edge":
        return jnp.clip(position, 0, last)
    if border == "reflect":
        folded = lax.rem(jnp.abs(position), jnp.int32(max(2 * last, 1)))
        return jnp.minimum(folded, 2 * last - folded)
    return onto_ring(position, length, bits)


def fixed_points(points: Float[Array, "h2 w2"], length: int, border: str = "constant") -> Position:
    """Returns coordinates of single points as integers with `POINT_BITS` bits behind the point.

    Args:
        points: one coordinate, in pixels from the center of the first pixel.
        length: pixels of the image along that coordinate.
        border: which point is shown in place of one outside, one of BORDERS.

    Returns: int32 in the same shape.
    """
    if border == "reflect":
        points = lax.rem(jnp.abs(points), jnp.asarray(max(2.0 * (length - 1), 1.0), points.dtype))
    nearest = jnp.clip(points, -1.0, 2.0 * length)  # before rounding: a far point would not fit
    return _inside(jnp.round(nearest * (1 << POINT_BITS)).astype(jnp.int32), length, POINT_BITS, border)


POINT_BITS = 14  # float32 has no more for images of 1000 pixels


def from_corner(inverse: Float[Array, "2 3"], source: Size, size: Size) -> Matrix:
    """Returns `fixed_point` from the upper left pixel instead of the center, with Pillow's rounding.

    Pillow rounds the constant from the unrounded matrix; the difference decides about one pixel in a thousand.

    Args:
        inverse: as `matrix` of `fixed_point`.
        source, size: (height, width) of the input and of the output.
    """
    scaled, fixed = _scaled(inverse, source, size), fixed_point(inverse, source, size)
    last, old_last = (jnp.array([width - 1, height - 1]) for height, width in (size, source))
    twice = (old_last << fraction_bits(source, size)) - fixed[:, :2] @ last
    rest = (scaled - fixed.astype(jnp.float32))[:, :2] * last.astype(jnp.float32) / 2
    offset = jnp.round((twice & 1).astype(jnp.float32) / 2 + scaled[:, 2] - jnp.sum(rest, axis=1))
    return fixed.at[:, 2].set((twice >> 1) + offset.astype(jnp.int32))
