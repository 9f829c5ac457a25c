"""Changes of geometry that keep lines straight: matrices that multiply, then one resample for all of them."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from efficient_jax.augment import resample, targets
from efficient_jax.augment.resample import Size
from efficient_jax.augment.targets import Inverse
from efficient_jax.types import Example, UserError

Scalar = Float[Array, ""] | float
Draw = Callable[[PRNGKeyArray, Size], Inverse]
# An inverse warp takes a point (x, y, 1) of the new picture to the point of the old one that it shows. x grows to
# the right, y downwards, and (0, 0) is the centre of the picture, ((w - 1) / 2, (h - 1) / 2), so no matrix depends
# on the picture's size. Changing a picture by A and then by B is changing it by A @ B.


def rotation(degrees: Scalar) -> Inverse:
    """Turns the picture counter-clockwise, as `numpy.rot90` does."""
    angle = jnp.asarray(degrees, jnp.float32) * (math.pi / 180)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _matrix(cos, -sin, 0.0, sin, cos, 0.0)


def shearing(x: Scalar, y: Scalar) -> Inverse:
    """Moves rows to the left by `x` pixels per pixel below the centre, columns up by `y` per pixel to the right."""
    return _matrix(1.0, x, 0.0, y, 1.0, 0.0)


def translation(x: Scalar, y: Scalar) -> Inverse:
    """Moves the picture `x` pixels to the right and `y` down."""
    return _matrix(1.0, 0.0, -jnp.asarray(x), 0.0, 1.0, -jnp.asarray(y))


def zooming(x: Scalar, y: Scalar) -> Inverse:
    """Enlarges the picture about its centre: `x` times across and `y` times down; negative mirrors."""
    return _matrix(1 / jnp.asarray(x), 0.0, 0.0, 0.0, 1 / jnp.asarray(y), 0.0)


def compose(*matrices: Inverse) -> Inverse:
    """The first change first."""
    product, *rest = matrices
    for matrix in rest:
        product = jnp.matmul(product, matrix, precision="highest")
    return product


def from_points(old: Float[Array, "3 2"], new: Float[Array, "3 2"], size: Size) -> Inverse:
    """The affine change that moves three points (x, y) of a picture, not on one line, from `old` to `new`.

    They count in pixels from the centre of the upper left pixel, as in cv2.getAffineTransform.
    """
    centre = jnp.array([(size[1] - 1) / 2, (size[0] - 1) / 2], jnp.float32)
    corners = [jnp.concatenate([(points - centre).T, jnp.ones((1, 3))]) for points in (old, new)]
    return jnp.matmul(corners[0], targets.inverted(corners[1]), precision="highest")


def from_corners(moved: Float[Array, "4 2"], size: Size) -> Inverse:
    """The perspective that moves the corners of a picture to `moved`: upper left, upper right, lower right, lower left.

    Corners, (x, y), are the outer corners of the corner pixels, in pixels from the centre of the picture.
    Heckbert (1989), "Fundamentals of texture mapping and image warping", section 2.2.3: the square to a quadrangle.
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


def transform(example: Example, inverse: Inverse, fill: float = 0.0) -> Example:
    """The image (bilinear), its masks, boxes and keypoints, changed by an affine inverse warp; `fill` in 0..1."""
    image = example["image"]
    size = image.shape[:2]
    inverse = inverse.at[:2].set(resample.within_limits(inverse[:2], size, size))  # for what moves with it too
    return targets.move(example, inverse, size) | {"image": resample.warp(image, inverse[:2], fill)}


def chain(key: PRNGKeyArray, example: Example, *, draws: tuple[Draw, ...], fill: float = 0.0) -> Example:
    """Several random changes as one: their matrices are multiplied, and the picture is resampled once."""
    size = example["image"].shape[:2]
    keys = [jax.random.fold_in(key, position) for position in range(len(draws))]
    return transform(example, compose(*(draw(k, size) for draw, k in zip(draws, keys, strict=True))), fill)


def random_rotation(key: PRNGKeyArray, size: Size, *, degrees: float = 30.0) -> Inverse:
    del size
    return rotation(_either_way(key, "rotate", degrees)[0])


def random_shear(key: PRNGKeyArray, size: Size, *, x: float = 0.3, y: float = 0.0) -> Inverse:
    del size
    return shearing(*_either_way(key, "shear", x, y))


def random_translation(key: PRNGKeyArray, size: Size, *, x: float = 0.1, y: float = 0.1) -> Inverse:
    right, down = _either_way(key, "translate", x, y)
    return translation(right * size[1], down * size[0])


def random_zoom(key: PRNGKeyArray, size: Size, *, scale: float = 0.2) -> Inverse:
    del size
    factor = jnp.exp(_either_way(key, "scale", math.log1p(_not_negative(scale, "scale")))[0])
    return zooming(factor, factor)


def random_affine(
    key: PRNGKeyArray,
    size: Size,
    *,
    rotate: float = 0.0,
    shear: float = 0.0,
    translate: float = 0.0,
    scale: float = 0.0,
) -> Inverse:
    larger = math.log1p(_not_negative(scale, "affine"))
    turn, along_x, along_y, right, down, larger = _either_way(
        key, "affine", rotate, shear, shear, translate * size[1], translate * size[0], larger
    )
    factor = jnp.exp(larger)
    return compose(shearing(along_x, along_y), zooming(factor, factor), rotation(turn), translation(right, down))


def rotate(key: PRNGKeyArray, example: Example, *, degrees: float = 30.0, fill: float = 0.0) -> Example:
    """Turns the picture about its centre by an angle uniform in +-degrees."""
    return transform(example, random_rotation(key, example["image"].shape[:2], degrees=degrees), fill)


def shear(key: PRNGKeyArray, example: Example, *, x: float = 0.3, y: float = 0.0, fill: float = 0.0) -> Example:
    """Shears about the centre by at most so many pixels per pixel, along x and along y, uniform either way."""
    return transform(example, random_shear(key, example["image"].shape[:2], x=x, y=y), fill)


def translate(key: PRNGKeyArray, example: Example, *, x: float = 0.1, y: float = 0.1, fill: float = 0.0) -> Example:
    """Moves the picture by at most these fractions of its width and height, uniform either way, not whole pixels."""
    return transform(example, random_translation(key, example["image"].shape[:2], x=x, y=y), fill)


def scale(key: PRNGKeyArray, example: Example, *, scale: float = 0.2, fill: float = 0.0) -> Example:
    """Zooms about the centre; the logarithm of the factor is uniform between 1 / (1 + scale) and 1 + scale."""
    return transform(example, random_zoom(key, example["image"].shape[:2], scale=scale), fill)


def affine(
    key: PRNGKeyArray,
    example: Example,
    *,
    rotate: float = 0.0,
    shear: float = 0.0,
    translate: float = 0.0,
    scale: float = 0.0,
    fill: float = 0.0,
) -> Example:
    """A random affine change in one bilinear resample; every amount is uniform in its range.

    rotate: at most so many degrees either way.
    shear: at most so many pixels per pixel, along x and along y.
    translate: at most this fraction of the width and of the height.
    scale: the logarithm of the zoom is uniform between 1 / (1 + scale) and 1 + scale.
    fill: what lies outside the picture, in 0..1.
    """
    size = example["image"].shape[:2]
    inverse = random_affine(key, size, rotate=rotate, shear=shear, translate=translate, scale=scale)
    return transform(example, inverse, fill)


MATRICES: dict[str, Callable[..., Inverse]] = {
    "rotate": random_rotation,
    "shear": random_shear,
    "translate": random_translation,
    "scale": random_zoom,
    "affine": random_affine,
}


def perspective(key: PRNGKeyArray, example: Example, *, distortion: float = 0.5, fill: float = 0.0) -> Example:
    """Moves each corner inwards, across and down by at most `distortion` of half the side, uniform.

    The law of torchvision.transforms.RandomPerspective. From 2/3 on the picture could fold over.
    """
    if not 0 <= distortion < 2 / 3:
        raise UserError(f"perspective: distortion {distortion} is not in 0..0.66, the share of half a side")
    image = example["image"]
    height, width, _ = image.shape
    half = jnp.array([width / 2, height / 2], jnp.float32)
    corners = half * jnp.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], jnp.float32)
    inward = 1 - distortion * jax.random.uniform(key, (4, 2))
    inverse = from_corners(corners * inward, (height, width))
    x = jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2
    y = (jnp.arange(height, dtype=jnp.float32) - (height - 1) / 2)[:, None]
    along_x, along_y, depth = (row[0] * x + row[1] * y + row[2] for row in inverse)
    depth = jnp.where(abs(depth) < 1e-6, 1e-6, depth)  # the horizon is outside the picture, but not the array
    seen = along_x / depth + (width - 1) / 2, along_y / depth + (height - 1) / 2
    moved = targets.move_to(example, seen, partial(targets.project, targets.inverted(inverse)), points_per_side=1)
    return moved | {"image": resample.warp_to(image, *seen, fill)}


def _either_way(key: PRNGKeyArray, name: str, *largest: float) -> Float[Array, "n"]:
    for amount in largest:
        _not_negative(amount, name)
    return jax.random.uniform(key, (len(largest),), minval=-1.0) * jnp.array(largest, jnp.float32)


def _not_negative(amount: float, name: str) -> float:
    if amount < 0:
        raise UserError(f"{name}: {amount} is negative; amounts are the largest change either way: 0.0 or more")
    return amount
