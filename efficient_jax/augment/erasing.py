"""Operations that hide part of the image."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Int32, PRNGKeyArray, Shaped

from efficient_jax.augment import ranges
from efficient_jax.augment.kernels import dtypes, positions
from efficient_jax.augment.kernels.barrier import barrier
from efficient_jax.augment.noise import hashed as random_bits
from efficient_jax.augment.ranges import Range
from efficient_jax.errors import UserError
from efficient_jax.types import Example

Integer = Int32[Array, ""]


def cutout(key: PRNGKeyArray, example: Example, *, size: int, fill: float = 0.0) -> Example:
    """Fills a square around a uniformly drawn pixel, clipped at the borders (arXiv 1708.04552).

    Less than size^2 pixels are hidden on average, because of the clipping: 19% of a 32x32 image at size 16.

    Args:
        key, example: see types.Example.
        size: side of the square in pixels, 1 or more.
        fill: level inside the square, in 0..1.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    if size < 1:
        raise UserError(f"cutout: size {size} is not a side in pixels (1 or more)")
    image = example["image"]
    y, x = scaled(jax.random.uniform(key, (2,)), image.shape[:2])
    side = jnp.int32(size)
    return example | {"image": paint(image, _level(image, fill), y - size // 2, x - size // 2, side, side)}


def random_erasing(
    key: PRNGKeyArray,
    example: Example,
    *,
    area_min: float = 0.02,
    area_max: float = 1 / 3,
    ratio_min: float = 0.3,
    fill: float = 0.0,
    noise: bool = False,
) -> Example:
    """Fills a rectangle inside the image (arXiv 1708.04896).

    Its share of the image is uniform in area_min..area_max, height / width is log-uniform in ratio_min..1 / ratio_min,
    its position is uniform, and the sides are rounded. Where a rectangle does not fit, the side that is too long
    becomes the image's and the other makes up the area; the paper draws again.

    Args:
        key, example: see types.Example.
        area_min: smallest share of the image that is filled, in 0..1.
        area_max: largest share of the image that is filled, in area_min..1.
        ratio_min: smallest height / width, above 0.0, at most 1.0; the largest is 1 / ratio_min.
        fill: level inside the rectangle, in 0..1.
        noise: whether to fill with uniform noise instead of `fill`, the paper's best filling.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    if not 0 <= area_min <= area_max <= 1:
        raise UserError(f"random_erasing: area_min {area_min} and area_max {area_max} are not in order in 0..1")
    if not 0 < ratio_min <= 1:
        raise UserError(f"random_erasing: ratio_min {ratio_min} is not in 0..1; 0.3 draws height / width in 0.3..3.3")
    image = example["image"]
    height, width, _ = image.shape
    drawn = jax.random.uniform(key, (4,))
    area = (area_min + drawn[0] * (area_max - area_min)) * height * width
    tall = jnp.sqrt(area * jnp.exp((2 * drawn[1] - 1) * math.log(ratio_min)))
    rows = jnp.round(jnp.clip(jnp.maximum(tall, area / width), 1, height))
    columns = jnp.minimum(jnp.round(area / rows), width)
    rows, columns = rows.astype(jnp.int32), columns.astype(jnp.int32)
    top, left = scaled(drawn[2:], jnp.stack([height - rows + 1, width - columns + 1]))
    value = _level(image, fill)
    if noise:
        counter = jnp.arange(image.size, dtype=jnp.uint32).reshape(image.shape)
        levels = (random_bits(counter, jax.random.bits(jax.random.fold_in(key, 1), (2,))) >> 24).astype(jnp.uint8)
        value = levels if image.dtype == jnp.uint8 else dtypes.to_float(levels)
    return example | {"image": paint(image, value, top, left, rows, columns)}


def gridmask(
    key: PRNGKeyArray,
    example: Example,
    *,
    ratio: float = 0.6,
    d_min: float = 0.4,
    d_max: float = 1.0,
    rotate: Range = 0.0,
    fill: float = 0.0,
) -> Example:
    """Fills the squares between the bars of a grid (arXiv 2001.04086).

    The grid has a period of d pixels in both directions, d uniform in d_min..d_max, and a uniform offset. Its bars are
    `ratio` * d wide, rounded: 2 ratio - ratio^2 of the image is kept on average, whatever its size and angle.

    Args:
        key, example: see types.Example.
        ratio: width of a bar as a share of the period, in 0..1; 1.0 keeps the whole image.
        d_min: smallest period as a share of the image's shorter side, above 0.0.
        d_max: largest period as a share of the image's shorter side, `d_min` or more.
        rotate: largest angle of the grid either way, in degrees; or a range (lowest, highest): (45.0, 45.0) hides
            diamonds.
        fill: level inside the squares, in 0..1.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges.
    """
    least, most = ranges.changes(rotate, "gridmask: rotate")
    if not 0 <= ratio <= 1:
        raise UserError(f"gridmask: ratio {ratio} is not in 0..1, the share of each period that is kept")
    if not 0 < d_min <= d_max:
        raise UserError(f"gridmask: d_min {d_min} and d_max {d_max} are not in order above 0, in sides of the image")
    image = example["image"]
    height, width, channels = image.shape
    shortest, longest = (max(1, round(d * min(height, width))) for d in (d_min, d_max))
    which, *offsets = jax.random.uniform(key, (3,))
    period = shortest + scaled(which, longest - shortest + 1)
    bar = jnp.round(ratio * period.astype(jnp.float32)).astype(jnp.int32)
    down, across = scaled(jnp.stack(offsets), period)
    if least != 0 or most != 0:
        angle = least + (most - least) * jax.random.uniform(jax.random.fold_in(key, 1))
        hidden = _turned_squares(angle * (math.pi / 180), period, bar, down, across, (height, width))
        return example | {"image": jnp.where(hidden[..., None], _level(image, fill), image)}
    rows = (jnp.arange(height, dtype=jnp.int32) + down) % period >= bar
    columns = (jnp.arange(width * channels, dtype=jnp.int32) // channels + across) % period >= bar
    rows, columns = barrier((rows, columns))  # else every level divides anew
    hidden = rows[:, None] & columns
    flat = image.reshape(height, width * channels)
    return example | {"image": jnp.where(hidden, _level(image, fill), flat).reshape(image.shape)}


def _turned_squares(
    angle: Array, period: Integer, bar: Integer, down: Integer, across: Integer, size: tuple[int, int]
) -> Bool[Array, "h w"]:
    """Returns a mask of a grid's squares, turned counter-clockwise about the image's center by an angle in radians."""
    bits = positions.fraction_bits(size)
    cos, sin = (jnp.round(f(angle) * (1 << bits)).astype(jnp.int32) for f in (jnp.cos, jnp.sin))
    y = (jnp.arange(size[0], dtype=jnp.int32) - size[0] // 2)[:, None]
    x = jnp.arange(size[1], dtype=jnp.int32) - size[1] // 2
    along_y, along_x = (cos * y + sin * x) >> bits, (cos * x - sin * y) >> bits  # whole pixels: equally likely offsets
    return ((along_y + down) % period >= bar) & ((along_x + across) % period >= bar)


def scaled(uniform: Array, size: Array | int | tuple[int, ...]) -> Int[Array, " *shape"]:
    """Returns integers 0..size - 1 from numbers uniform in [0, 1): one draw each, where randint needs three.

    Args:
        uniform: numbers from jax.random.uniform.
        size: how many integers there are, 1 or more; its shape broadcasts with that of `uniform`.

    Returns: int32 in the broadcast shape.
    """
    # jax.random.uniform is at most 1 - 2**-23, and a product with that rounds below the size.
    return (uniform * jnp.asarray(size).astype(jnp.float32)).astype(jnp.int32)


def paint(
    image: Shaped[Array, "h w c"],
    value: Shaped[Array, " *image"],
    top: Integer,
    left: Integer,
    rows: Integer,
    columns: Integer,
) -> Shaped[Array, "h w c"]:
    """Returns the image with `value` inside a rectangle, which may reach beyond the borders.

    Args:
        image: [h w c].
        value: a level, or another image [h w c], of the image's dtype.
        top, left: upper left pixel of the rectangle, int32 scalars, may be negative.
        rows, columns: height and width of the rectangle in pixels, int32 scalars, 0 or more.

    Returns: the image [h w c], its dtype kept.
    """
    height, width, channels = image.shape
    # Rows of w * c levels: one comparison of each with a range, in a loop that becomes vector instructions.
    inside = box(top, left * channels, rows, columns * channels, height, width * channels)
    flat, value = (x.reshape(height, width * channels) for x in (image, jnp.broadcast_to(value, image.shape)))
    return jnp.where(inside, value, flat).reshape(image.shape)


def box(top: Integer, left: Integer, rows: Integer, columns: Integer, h: int, w: int) -> Bool[Array, "h w"]:
    """Returns a mask of a rectangle, which may reach beyond the borders.

    Args:
        top, left: upper left pixel of the rectangle, int32 scalars, may be negative.
        rows, columns: height and width of the rectangle in pixels, int32 scalars, 0 or more.
        h, w: height and width of the mask in pixels.

    Returns: bool [h w], True inside the rectangle.
    """
    y, x = jnp.arange(h, dtype=jnp.int32) - top, jnp.arange(w, dtype=jnp.int32) - left
    return ((y >= 0) & (y < rows))[:, None] & ((x >= 0) & (x < columns))


def _level(image: Array, fill: float) -> Array:
    return jnp.asarray(dtypes.filling(fill, image.dtype), image.dtype)
