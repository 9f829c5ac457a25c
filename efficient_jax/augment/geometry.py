"""Rotation, shear, shift and zoom: matrices that multiply, then one resample. And the flip, which moves pixels."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from efficient_jax.augment import kernels
from efficient_jax.types import Example, UserError

Scalar = Float[Array, ""] | float
Affine = Float[Array, "3 3"]
# An inverse warp: takes a point (x, y, 1) of the new picture to the point of the old one that it shows. x grows to
# the right, y downwards, and (0, 0) is the centre of the picture, ((w - 1) / 2, (h - 1) / 2), so no matrix depends
# on the picture's size. Changing a picture by A and then by B is changing it by A @ B.


def rotation(degrees: Scalar) -> Affine:
    """Turns the picture counter-clockwise, as `numpy.rot90` does."""
    angle = jnp.asarray(degrees, jnp.float32) * (math.pi / 180)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _matrix(cos, -sin, 0.0, sin, cos, 0.0)


def shear(x: Scalar, y: Scalar) -> Affine:
    """Moves rows to the left by `x` pixels per pixel below the centre, columns up by `y` per pixel to the right."""
    return _matrix(1.0, x, 0.0, y, 1.0, 0.0)


def translation(x: Scalar, y: Scalar) -> Affine:
    """Moves the picture `x` pixels to the right and `y` down."""
    return _matrix(1.0, 0.0, -jnp.asarray(x), 0.0, 1.0, -jnp.asarray(y))


def zoom(factor: Scalar) -> Affine:
    """Enlarges the picture `factor` times about its centre."""
    return _matrix(1 / jnp.asarray(factor), 0.0, 0.0, 0.0, 1 / jnp.asarray(factor), 0.0)


def compose(*matrices: Affine) -> Affine:
    """The first change first."""
    product, *rest = matrices
    for matrix in rest:
        product = jnp.matmul(product, matrix, precision="highest")
    return product


def _matrix(*entries: Scalar) -> Affine:
    return jnp.stack([jnp.asarray(entry, jnp.float32) for entry in (*entries, 0.0, 0.0, 1.0)]).reshape(3, 3)


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
    if min(rotate, shear, translate, scale) < 0:
        raise UserError("affine: rotate, shear, translate and scale are largest amounts either way: 0.0 or more")
    height, width, _ = example["image"].shape
    turn, along_x, along_y, right, down, larger = jax.random.uniform(key, (6,), minval=-1.0)
    matrix = compose(
        _matrix(1.0, along_x * shear, 0.0, along_y * shear, 1.0, 0.0),
        zoom(jnp.exp(larger * math.log1p(scale))),
        rotation(turn * rotate),
        translation(right * (translate * width), down * (translate * height)),
    )
    return example | {"image": kernels.warp(example["image"], matrix[:2], fill)}


def flip(key: PRNGKeyArray, example: Example, *, probability: float = 0.5) -> Example:
    """Mirrors the picture left to right with this probability. Not for text and digits."""
    if not 0 <= probability <= 1:
        raise UserError(f"flip: probability {probability} is not in 0..1")
    image = example["image"]
    return example | {"image": jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)}
