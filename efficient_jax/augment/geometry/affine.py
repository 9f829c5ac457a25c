"""Changes of geometry that keep lines straight: affine ones and perspective."""

from collections.abc import Callable
from functools import partial

from jaxtyping import PRNGKeyArray

from efficient_jax.augment.geometry.random_matrices import (
    _through_points,
    random_affine,
    random_perspective,
    random_rotation,
    random_shear,
    random_translation,
    random_zoom,
)
from efficient_jax.augment.kernels import positions, resample, targets
from efficient_jax.augment.kernels.dtypes import Fill
from efficient_jax.augment.kernels.matrices import (
    seen_through,
)
from efficient_jax.augment.kernels.positions import Size
from efficient_jax.augment.kernels.targets import Inverse
from efficient_jax.augment.ranges import Range
from efficient_jax.types import Example


def transform(
    example: Example, inverse: Inverse, fill: Fill = 0.0, border: str = "constant", size: Size | None = None
) -> Example:
    """Changes the image (bilinear), its masks, boxes and keypoints by an affine inverse warp.

    Args:
        example: see types.Example.
        inverse: takes a point of the new image to the point of the old one that it shows, see `kernels.matrices`.
        fill: what lies outside where `border` is constant, in 0..1, one level or one for each channel.
        border: constant, edge or reflect (`positions.BORDERS`); masks always get 0.
        size: (height, width) of the new image; None keeps the size.

    Returns: the changed example.

    Raises: UserError for an unknown border, and for a fill outside 0..1.
    """
    image = example["image"]
    old = image.shape[:2]
    size = size or old
    inverse = within_limits(inverse, old, size)  # for what moves with it too
    return targets.move(example, inverse, size) | {"image": resample.warp(image, inverse[:2], fill, size, border)}


def within_limits(inverse: Inverse, old: Size, size: Size) -> Inverse:
    """Returns an affine inverse warp clipped to the limits of `resample.warp`.

    Args:
        inverse: takes a point of the new image to the point of the old one that it shows.
        old, size: (height, width) of the old and of the new image.

    Returns: the matrix, with its first two rows clipped.
    """
    return inverse.at[:2].set(positions.within_limits(inverse[:2], old, size))


def rotate(
    key: PRNGKeyArray, example: Example, *, degrees: Range = 30.0, fill: Fill = 0.0, border: str = "constant"
) -> Example:
    """Turns the image counter-clockwise about its center by an angle uniform in +-degrees.

    Args:
        key, example: see types.Example.
        degrees: largest angle either way, 0.0 or more; or a range (lowest, highest): (0.0, 30.0) turns one way only.
        fill: level outside the image where `border` is constant, in 0..1, one level or one for each channel.
        border: what lies outside the image: constant, edge or reflect, see `affine`; masks always get 0.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for settings outside their ranges.
    """
    return transform(example, random_rotation(key, example["image"].shape[:2], degrees=degrees), fill, border)


def shear(
    key: PRNGKeyArray,
    example: Example,
    *,
    x: Range = 0.3,
    y: Range = 0.0,
    fill: Fill = 0.0,
    border: str = "constant",
) -> Example:
    """Shears the image about its center, along x and along y, each amount uniform.

    A positive `x` moves rows below the center to the left, a positive `y` columns right of the center up.

    Args:
        key, example: see types.Example.
        x: largest shear of rows either way, in pixels per pixel, 0.0 or more; or a range (lowest, highest).
        y: largest shear of columns either way, in pixels per pixel, 0.0 or more; or a range (lowest, highest).
        fill: level outside the image where `border` is constant, in 0..1, one level or one for each channel.
        border: what lies outside the image: constant, edge or reflect, see `affine`; masks always get 0.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for settings outside their ranges.
    """
    return transform(example, random_shear(key, example["image"].shape[:2], x=x, y=y), fill, border)


def translate(
    key: PRNGKeyArray,
    example: Example,
    *,
    x: Range = 0.1,
    y: Range = 0.1,
    fill: Fill = 0.0,
    border: str = "constant",
) -> Example:
    """Moves the image by uniform shares of its width and height, not by whole pixels.

    Args:
        key, example: see types.Example.
        x: largest shift either way as a share of the width, 0.0 or more; or a range (lowest, highest), positive to the
            right.
        y: largest shift either way as a share of the height, 0.0 or more; or a range (lowest, highest), positive down.
        fill: level outside the image where `border` is constant, in 0..1, one level or one for each channel.
        border: what lies outside the image: constant, edge or reflect, see `affine`; masks always get 0.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for settings outside their ranges.
    """
    return transform(example, random_translation(key, example["image"].shape[:2], x=x, y=y), fill, border)


def scale(
    key: PRNGKeyArray, example: Example, *, scale: Range = 0.2, fill: Fill = 0.0, border: str = "constant"
) -> Example:
    """Zooms about the center; the logarithm of the factor is uniform.

    Args:
        key, example: see types.Example.
        scale: zooms by up to 1 + scale and its inverse, 0.0 or more; or a range of factors (lowest, highest): (1.0,
            1.5) only enlarges.
        fill: level outside the image where `border` is constant, in 0..1, one level or one for each channel.
        border: what lies outside the image: constant, edge or reflect, see `affine`; masks always get 0.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for settings outside their ranges.
    """
    return transform(example, random_zoom(key, example["image"].shape[:2], scale=scale), fill, border)


def affine(
    key: PRNGKeyArray,
    example: Example,
    *,
    rotate: Range = 0.0,
    shear: Range = 0.0,
    translate: Range = 0.0,
    scale: Range = 0.0,
    fill: Fill = 0.0,
    border: str = "constant",
) -> Example:
    """Shears, zooms, turns and moves the image in one bilinear resample; every amount is uniform in its range.

    The border `reflect` mirrors the image about its outermost pixels. Boxes are those of the object itself, whatever
    the border shows.

    Args:
        key, example: see types.Example.
        rotate: largest angle either way in degrees, 0.0 or more; or a range (lowest, highest).
        shear: largest shear either way along x and along y, in pixels per pixel, 0.0 or more; or a range (lowest,
            highest).
        translate: largest shift either way as a share of the width and of the height, 0.0 or more; or a range.
        scale: zooms by up to 1 + scale and its inverse, uniform in the logarithm, 0.0 or more; or a range of factors.
        fill: level outside the image where `border` is constant, in 0..1, one level or one for each channel.
        border: what lies outside the image: constant (`fill`), edge (nearest pixel) or reflect; masks always get 0.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for settings outside their ranges.
    """
    size = example["image"].shape[:2]
    inverse = random_affine(key, size, rotate=rotate, shear=shear, translate=translate, scale=scale)
    return transform(example, inverse, fill, border)


def affine_from_points(
    key: PRNGKeyArray,
    example: Example,
    *,
    old: tuple[tuple[float, float], ...],
    new: tuple[tuple[float, float], ...],
    fill: Fill = 0.0,
    border: str = "constant",
) -> Example:
    """Applies the affine change that moves three points of the image from `old` to `new`; nothing is random.

    Args:
        key, example: see types.Example.
        old: three points (x, y), not on one line, in pixels from the center of the upper left pixel
            (cv2.getAffineTransform).
        new: where these points are afterwards, three points (x, y), not on one line, in the same pixels.
        fill: level outside the image where `border` is constant, in 0..1, one level or one for each channel.
        border: what lies outside the image: constant, edge or reflect, see `affine`; masks always get 0.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for other than three points, or points on one line.
    """
    inverse = _through_points(key, example["image"].shape[:2], old=old, new=new)
    return transform(example, inverse, fill, border)


def perspective(
    key: PRNGKeyArray, example: Example, *, distortion: float = 0.5, fill: Fill = 0.0, border: str = "constant"
) -> Example:
    """Moves each corner inwards, across and down, by uniform shares of half the side.

    The corners are distributed as in torchvision.transforms.RandomPerspective.

    Args:
        key, example: see types.Example.
        distortion: largest shift of a corner as a share of half the side, in 0..2/3 (2/3, where it could fold,
            excluded).
        fill: level outside the image where `border` is constant, in 0..1, one level or one for each channel.
        border: what lies outside the image: constant, edge or reflect, see `affine`; masks always get 0.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for settings outside their ranges.
    """
    image = example["image"]
    size = image.shape[:2]
    inverse = random_perspective(key, size, distortion=distortion)
    seen = seen_through(inverse, size, size)
    moved = targets.move_to(example, seen, partial(targets.project, targets.inverted(inverse)), points_per_side=1)
    return moved | {"image": resample.warp_to(image, *seen, fill, border)}


MATRICES: dict[str, Callable[..., Inverse]] = {
    "rotate": random_rotation,
    "shear": random_shear,
    "translate": random_translation,
    "scale": random_zoom,
    "affine": random_affine,
    "affine_from_points": _through_points,
    "perspective": random_perspective,
}
