"""Changes that move whole pixels or the picture's frame: flips, quarter turns, crop, pad, resize."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from efficient_jax import binding
from efficient_jax.augment import kernels, resample, targets
from efficient_jax.augment.geometry import compose, rotation, translation, zooming
from efficient_jax.augment.resample import Size
from efficient_jax.types import Example, UserError

BORDERS = ("constant", "reflect", "edge")  # of jnp.pad


def flip(
    key: PRNGKeyArray, example: Example, *, probability: float = 0.5, keypoint_pairs: tuple[tuple[int, int], ...] = ()
) -> Example:
    """Mirrors the picture left to right with this probability. Not for text and digits.

    keypoint_pairs: rows of `keypoints` that change places in the mirror (the left and the right eye).
    """
    coin = _coin(key, probability, "flip")
    flipped = _flipped(example, coin, axis=1)
    if "keypoints" not in example or not keypoint_pairs:
        return flipped
    order = np.arange(len(example["keypoints"]))
    if any(len(pair) != 2 or not 0 <= min(pair) <= max(pair) < len(order) for pair in keypoint_pairs):
        raise UserError(f"flip: keypoint_pairs {keypoint_pairs} are not pairs of rows of {len(order)} keypoints")
    for left, right in keypoint_pairs:
        order[[left, right]] = order[[right, left]]
    swapped = {name: flipped[name][order] for name in ("keypoints", "keypoint_visible")}
    return flipped | {name: jnp.where(coin, after, flipped[name]) for name, after in swapped.items()}


def flip_vertical(key: PRNGKeyArray, example: Example, *, probability: float = 0.5) -> Example:
    """Turns the picture upside down, as water mirrors it, with this probability."""
    return _flipped(example, _coin(key, probability, "flip_vertical"), axis=0)


def _coin(key: PRNGKeyArray, probability: float, name: str) -> Bool[Array, ""]:
    if not 0 <= probability <= 1:
        raise UserError(f"{name}: probability {probability} is not in 0..1")
    return jax.random.uniform(key) < probability


def _flipped(example: Example, coin: Bool[Array, ""], axis: int) -> Example:
    image = example["image"]
    sign = jnp.where(coin, -1.0, 1.0)
    moved = targets.move(example, zooming(*((1.0, sign) if axis == 0 else (sign, 1.0))), image.shape[:2])
    return moved | {"image": jnp.where(coin, jnp.flip(image, axis), image)}


def rot90(key: PRNGKeyArray, example: Example) -> Example:
    """A random number of quarter turns; only half turns where the picture is not square, since shapes are fixed.

    With `flip` before it, the eight symmetries of the square, equally likely.
    """
    image = example["image"]
    square = image.shape[0] == image.shape[1]
    turns = (jax.random.uniform(key) * 4).astype(jnp.int32) & (3 if square else 2)
    turned = jnp.where(turns >= 2, image[::-1, ::-1], image)
    if square:
        turned = jnp.where(turns % 2 == 1, jnp.rot90(turned), turned)
    # Rounded, since the cosine of a right angle is not zero in floating point.
    inverse = jnp.round(rotation(90.0 * turns.astype(jnp.float32)))
    return targets.move(example, inverse, image.shape[:2]) | {"image": turned}


def pad(key: PRNGKeyArray, example: Example, *, pixels: int, border: str = "constant", fill: float = 0.0) -> Example:
    """`pixels` more on every side. border: constant (`fill` in 0..1), reflect or edge; masks always get 0."""
    del key
    binding.choose(border, dict.fromkeys(BORDERS), "pad.border")
    if pixels < 0:
        raise UserError(f"pad: {pixels} pixels; want 0 or more")
    image = example["image"]
    height, width, _ = image.shape
    around = ((pixels, pixels), (pixels, pixels), (0, 0))
    if border == "constant":
        level = jnp.asarray(kernels.filling(fill, image.dtype), image.dtype)
        padded = jnp.pad(image, around, constant_values=level)
    else:
        padded = jnp.pad(image, around, mode=border)
    return targets.move(example, jnp.eye(3), (height + 2 * pixels, width + 2 * pixels)) | {"image": padded}


def crop(
    key: PRNGKeyArray,
    example: Example,
    *,
    size: tuple[int, int] = (0, 0),
    padding: int = 0,
    border: str = "constant",
    fill: float = 0.0,
) -> Example:
    """A window of `size` (height, width) at a random place; (0, 0) keeps the picture's size.

    padding: the picture is padded first, as `pad` does: 4 pixels, reflected, is common for CIFAR-10.
    """
    new = _size(example, size, "crop")
    binding.choose(border, dict.fromkeys(BORDERS), "crop.border")
    if padding:
        example = pad(key, example, pixels=padding, border=border, fill=fill)
    room = _room(example, new, "crop")
    # Rounds below the number of places, since a uniform number is at most 1 - 2**-23.
    corner = (jax.random.uniform(key, (2,)) * (room + 1).astype(np.float32)).astype(jnp.int32)
    return _window(example, corner[0], corner[1], new)


def center_crop(key: PRNGKeyArray, example: Example, *, size: tuple[int, int]) -> Example:
    """The window of `size` (height, width) in the middle."""
    del key
    new = _size(example, size, "center_crop")
    top, left = _room(example, new, "center_crop") // 2
    return _window(example, jnp.int32(top), jnp.int32(left), new)


def _window(example: Example, top: Array, left: Array, size: Size) -> Example:
    image = example["image"]
    height, width, channels = image.shape
    from_corner = jnp.array([(width - size[1]) / 2, (height - size[0]) / 2], jnp.float32)
    x, y = jnp.stack([left, top]).astype(jnp.float32) - from_corner
    window = jax.lax.dynamic_slice(image, (top, left, jnp.int32(0)), (*size, channels))
    return targets.move(example, translation(-x, -y), size) | {"image": window}


def _room(example: Example, size: Size, name: str) -> np.ndarray:
    room = np.array(example["image"].shape[:2]) - size
    if (room < 0).any() or min(size) < 1:
        old = " x ".join(map(str, example["image"].shape[:2]))
        raise UserError(f"{name}: a window of {size[0]} x {size[1]} does not fit into a picture of {old}")
    return room


def _size(example: Example, size: tuple[int, int], name: str) -> Size:
    if tuple(size) == (0, 0):
        return example["image"].shape[:2]
    if len(size) != 2 or not all(isinstance(length, int) and length > 0 for length in size):
        raise UserError(f"{name}: size {size} is not (height, width) in pixels, 1 or more each")
    return size[0], size[1]


def resize(key: PRNGKeyArray, example: Example, *, size: tuple[int, int]) -> Example:
    """The whole picture at another size, bilinear; where it gets smaller each pixel averages what it covers."""
    del key
    new = _size(example, size, "resize")
    height, width, _ = example["image"].shape
    return _show(example, jnp.array([0, 0, height, width], jnp.float32), new)


def random_resized_crop(
    key: PRNGKeyArray,
    example: Example,
    *,
    size: tuple[int, int] = (0, 0),
    area_min: float = 0.08,
    area_max: float = 1.0,
    ratio: float = 4 / 3,
) -> Example:
    """A window of random area and shape, resized to `size` (height, width); (0, 0) keeps the picture's size.

    Area uniform in area_min..area_max of the picture's, the logarithm of width / height uniform in
    1 / ratio..ratio, among the windows that fit (torchvision draws until one does), at a uniform place; where none
    fits, the largest window of an allowed shape in the middle. arXiv 1409.4842. Its edges are not rounded to
    pixels, and next to them the picture beyond is seen.
    """
    if not 0 < area_min <= area_max <= 1 or ratio < 1:
        got = f"{area_min}, {area_max}, {ratio}"
        raise UserError(f"random_resized_crop: want 0 < area_min <= area_max <= 1 and ratio >= 1, got {got}")
    new = _size(example, size, "random_resized_crop")
    height, width, _ = example["image"].shape
    quantiles = _areas_that_fit(height, width, area_min, area_max, math.log(ratio))
    if quantiles is None:
        shape = min(max(width / height, 1 / ratio), ratio)
        rows, columns = min(height, width / shape), min(width, height * shape)
        window = jnp.array([(height - rows) / 2, (width - columns) / 2, rows, columns], jnp.float32)
        return _show(example, window, new)
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
    window = jnp.stack([draws[2] * (height - down), draws[3] * (width - across), down, across])
    return _show(example, window, new)


def _areas_that_fit(
    height: int, width: int, area_min: float, area_max: float, log_ratio: float
) -> Float[np.ndarray, "q"] | None:
    """257 quantiles of the area of windows that fit, in pixels: one draw where others draw again and again."""
    areas = np.linspace(area_min, area_max, 4097) * (height * width)
    shapes = np.minimum(log_ratio, np.log(width**2 / areas)) - np.maximum(-log_ratio, np.log(areas / height**2))
    weight = np.maximum(shapes, 0) if log_ratio > 0 else (shapes >= 0).astype(float)
    if not weight.any():
        return None
    below = np.concatenate([[0], np.cumsum((weight[1:] + weight[:-1]) / 2)])
    if below[-1] == 0:  # one area only
        return np.full(2, areas[weight.argmax()], np.float32)
    return np.interp(np.linspace(0, below[-1], 257), below, areas).astype(np.float32)


def _show(example: Example, window: Float[Array, "4"], size: Size) -> Example:
    """The window (top, left, height, width) of the picture, in pixels and parts of them, at `size`."""
    image = example["image"]
    height, width, _ = image.shape
    top, left, rows, columns = window
    right_of_centre, below_centre = left + (columns - width) / 2, top + (rows - height) / 2
    inverse = compose(translation(-right_of_centre, -below_centre), zooming(size[1] / columns, size[0] / rows))
    if size[0] < height or size[1] < width:
        shown = _averaged(image, window, size)
    else:
        y = top + (jnp.arange(size[0], dtype=jnp.float32) + 0.5) * (rows / size[0]) - 0.5
        x = left + (jnp.arange(size[1], dtype=jnp.float32) + 0.5) * (columns / size[1]) - 0.5
        shown = resample.stretch(image, y, x)
    return targets.move(example, inverse, size) | {"image": shown}


def _averaged(image: Shaped[Array, "h w c"], window: Float[Array, "4"], size: Size) -> Shaped[Array, "h2 w2 c"]:
    """With a triangle filter as wide as an output pixel, as Pillow; a product with a matrix for each axis."""
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
