"""Changes that move whole pixels or the image's frame: flips, quarter turns, crop, pad, resize."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, Shaped

from efficient_jax import settings
from efficient_jax.augment.kernels import dtypes, resample, targets
from efficient_jax.augment.kernels.dtypes import Fill
from efficient_jax.augment.kernels.matrices import compose, rotation, translation, zooming
from efficient_jax.augment.kernels.resample import BORDERS, Size
from efficient_jax.augment.kernels.targets import Inverse
from efficient_jax.errors import UserError
from efficient_jax.types import Example

Window = Float[Array, " 4"]  # top, left, height, width, in pixels and parts of them


def flip(
    key: PRNGKeyArray, example: Example, *, probability: float = 0.5, keypoint_pairs: tuple[tuple[int, int], ...] = ()
) -> Example:
    """Mirrors the image left to right. Not for text and digits.

    Args:
        key, example: see types.Example.
        probability: probability that an image is mirrored, in 0..1.
        keypoint_pairs: pairs of rows of `keypoints` that change places in the mirror: ((0, 1),) for the left and the
            right eye.

    Returns: the example with its image, masks, boxes and keypoints mirrored or not.

    Raises: UserError for a probability outside 0..1, and for pairs that are not rows of `keypoints`.
    """
    coin = _coin(key, probability, "flip")
    return swapped(_flipped(example, coin, axis=1), coin, keypoint_pairs)


def swapped(example: Example, coin: Bool[Array, ""], keypoint_pairs: tuple[tuple[int, int], ...]) -> Example:
    """Returns the example with the rows of each pair of keypoints exchanged where the coin says so.

    Args:
        example: see types.Example.
        coin: whether to exchange them, bool scalar.
        keypoint_pairs: pairs of rows of `keypoints`.

    Returns: the example; without keypoints or pairs it is unchanged.

    Raises: UserError for pairs that are not rows of `keypoints`.
    """
    if "keypoints" not in example or not keypoint_pairs:
        return example
    order = np.arange(len(example["keypoints"]))
    if any(len(pair) != 2 or not 0 <= min(pair) <= max(pair) < len(order) for pair in keypoint_pairs):
        raise UserError(f"flip: keypoint_pairs {keypoint_pairs} are not pairs of rows of {len(order)} keypoints")
    for left, right in keypoint_pairs:
        order[[left, right]] = order[[right, left]]
    exchanged = {name: example[name][order] for name in ("keypoints", "keypoint_visible")}
    return example | {name: jnp.where(coin, after, example[name]) for name, after in exchanged.items()}


def flip_vertical(key: PRNGKeyArray, example: Example, *, probability: float = 0.5) -> Example:
    """Mirrors the image upside down.

    Args:
        key, example: see types.Example.
        probability: probability that an image is mirrored, in 0..1.

    Returns: the example with its image, masks, boxes and keypoints mirrored or not.

    Raises: UserError for a probability outside 0..1.
    """
    return _flipped(example, _coin(key, probability, "flip_vertical"), axis=0)


def _coin(key: PRNGKeyArray, probability: float, name: str) -> Bool[Array, ""]:
    if not 0 <= probability <= 1:
        raise UserError(f"{name}: probability {probability} is not in 0..1")
    return jax.random.uniform(key) < probability


def _flipped(example: Example, coin: Bool[Array, ""], axis: int) -> Example:
    image = example["image"]
    moved = targets.move(example, _mirror(coin, axis), image.shape[:2])
    return moved | {"image": jnp.where(coin, jnp.flip(image, axis), image)}


def _mirror(coin: Bool[Array, ""], axis: int) -> Inverse:
    sign = jnp.where(coin, -1.0, 1.0)
    return zooming(*((1.0, sign) if axis == 0 else (sign, 1.0)))


def rot90(key: PRNGKeyArray, example: Example) -> Example:
    """Turns the image by a random number of quarter turns; by 0 or 180 degrees where it is not square.

    With `flip` before it, the eight symmetries of the square are equally likely. Shapes are fixed, so that an image
    that is not square gets no odd number of quarter turns.

    Args:
        key, example: see types.Example.

    Returns: the example with its image, masks, boxes and keypoints turned.
    """
    image = example["image"]
    turns, inverse = _quarter_turns(key, image.shape[:2])
    turned = jnp.where(turns >= 2, image[::-1, ::-1], image)
    if image.shape[0] == image.shape[1]:
        turned = jnp.where(turns % 2 == 1, jnp.rot90(turned), turned)
    return targets.move(example, inverse, image.shape[:2]) | {"image": turned}


def _quarter_turns(key: PRNGKeyArray, size: Size) -> tuple[Int32[Array, ""], Inverse]:
    turns = (jax.random.uniform(key) * 4).astype(jnp.int32) & (3 if size[0] == size[1] else 2)
    # Rounded, since the cosine of a right angle is not zero in floating point.
    return turns, jnp.round(rotation(90.0 * turns.astype(jnp.float32)))


def pad(key: PRNGKeyArray, example: Example, *, pixels: int, border: str = "constant", fill: Fill = 0.0) -> Example:
    """Adds pixels on every side.

    Args:
        key, example: see types.Example.
        pixels: pixels added on each of the four sides, 0 or more.
        border: what is added: constant (`fill`), reflect or edge (`resample.BORDERS`); masks always get 0.
        fill: level of a constant border, in 0..1, one level or one for each channel.

    Returns: the example with a larger image, and its masks, boxes and keypoints moved.

    Raises: UserError for a negative number of pixels, an unknown border, and a fill outside 0..1.
    """
    del key
    image = example["image"]
    size = _padded(image.shape[:2], pixels, border, "pad")
    around = ((pixels, pixels), (pixels, pixels), (0, 0))
    if border == "constant":
        levels = dtypes.fill_levels(fill, image.shape[2], image.dtype)
        if len(set(levels)) == 1:
            padded = jnp.pad(image, around, constant_values=jnp.asarray(levels[0], image.dtype))
        else:
            sheet = jnp.broadcast_to(jnp.asarray(levels, image.dtype), (*size, len(levels)))
            padded = jax.lax.dynamic_update_slice(sheet, image, (pixels, pixels, 0))
    else:
        padded = jnp.pad(image, around, mode=border)
    return targets.move(example, jnp.eye(3), size) | {"image": padded}


def _padded(size: Size, pixels: int, border: str, name: str) -> Size:
    settings.choose(border, dict.fromkeys(BORDERS), f"{name}.border")
    if pixels < 0:
        raise UserError(f"{name}: {pixels} pixels; want 0 or more")
    return size[0] + 2 * pixels, size[1] + 2 * pixels


def crop(
    key: PRNGKeyArray,
    example: Example,
    *,
    size: tuple[int, int] = (0, 0),
    padding: int = 0,
    border: str = "constant",
    fill: Fill = 0.0,
) -> Example:
    """Cuts out a window at a uniformly drawn place.

    Args:
        key, example: see types.Example.
        size: (height, width) of the window in pixels, 1 or more each; (0, 0) keeps the image's size.
        padding: pixels added on every side before, as by `pad`, 0 or more; 4, reflected, is common for CIFAR-10.
        border: what the padding shows: constant (`fill`), reflect or edge; masks always get 0.
        fill: level of a constant padding, in 0..1, one level or one for each channel.

    Returns: the example with the window as its image, and its masks, boxes and keypoints moved.

    Raises: UserError for a window that does not fit into the padded image, and for settings outside their ranges.
    """
    new = _size(example["image"].shape, size, "crop")
    padded = _padded(example["image"].shape[:2], padding, border, "crop")
    if padding:
        example = pad(key, example, pixels=padding, border=border, fill=fill)
    return _window(example, *_corner(key, padded, new), new)


def _corner(key: PRNGKeyArray, old: Size, size: Size) -> tuple[Array, Array]:
    room = _room(old, size, "crop")
    # Rounds below the number of places, since a uniform number is at most 1 - 2**-23.
    top, left = (jax.random.uniform(key, (2,)) * (room + 1).astype(np.float32)).astype(jnp.int32)
    return top, left


def center_crop(key: PRNGKeyArray, example: Example, *, size: tuple[int, int]) -> Example:
    """Cuts out the window in the middle.

    Args:
        key, example: see types.Example.
        size: (height, width) of the window in pixels, 1 or more each; (0, 0) keeps the image's size.

    Returns: the example with the window as its image, and its masks, boxes and keypoints moved.

    Raises: UserError for a window that does not fit into the image.
    """
    del key
    new = _size(example["image"].shape, size, "center_crop")
    return _window(example, *_middle(example["image"].shape[:2], new), new)


def _middle(old: Size, size: Size) -> tuple[Array, Array]:
    top, left = _room(old, size, "center_crop") // 2
    return jnp.int32(top), jnp.int32(left)


def _window(example: Example, top: Array, left: Array, size: Size) -> Example:
    image = example["image"]
    window = jax.lax.dynamic_slice(image, (top, left, jnp.int32(0)), (*size, image.shape[2]))
    return targets.move(example, _at(top, left, image.shape[:2], size), size) | {"image": window}


def _at(top: Array, left: Array, old: Size, size: Size) -> Inverse:
    from_corner = jnp.array([(old[1] - size[1]) / 2, (old[0] - size[0]) / 2], jnp.float32)
    x, y = jnp.stack([left, top]).astype(jnp.float32) - from_corner
    return translation(-x, -y)


def _room(old: Size, size: Size, name: str) -> np.ndarray:
    room = np.array(old) - size
    if (room < 0).any() or min(size) < 1:
        raise UserError(f"{name}: a window of {size[0]} x {size[1]} does not fit into an image of {old[0]} x {old[1]}")
    return room


def _size(old: Size, size: tuple[int, int], name: str) -> Size:
    if tuple(size) == (0, 0):
        return old[0], old[1]
    if len(size) != 2 or not all(isinstance(length, int) and length > 0 for length in size):
        raise UserError(f"{name}: size {size} is not (height, width) in pixels, 1 or more each")
    return size[0], size[1]


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
    return jnp.array([0, 0, *old], jnp.float32), _size(old, size, "resize")


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
    return _show(example, window, _size(example["image"].shape, size, "random_resized_crop"))


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


# The same changes as matrices, for chains: from (key, the old size) to the inverse warp and the new size.


def _flip_matrix(
    key: PRNGKeyArray, old: Size, *, probability: float, keypoint_pairs: tuple[tuple[int, int], ...]
) -> tuple[Inverse, Size]:
    del keypoint_pairs
    return _mirror(_coin(key, probability, "flip"), axis=1), old


def _flip_vertical_matrix(key: PRNGKeyArray, old: Size, *, probability: float) -> tuple[Inverse, Size]:
    return _mirror(_coin(key, probability, "flip_vertical"), axis=0), old


def _rot90_matrix(key: PRNGKeyArray, old: Size) -> tuple[Inverse, Size]:
    return _quarter_turns(key, old)[1], old


def _pad_matrix(key: PRNGKeyArray, old: Size, *, pixels: int, border: str, fill: Fill) -> tuple[Inverse, Size]:
    del key, fill
    return jnp.eye(3), _padded(old, pixels, border, "pad")


def _crop_matrix(
    key: PRNGKeyArray, old: Size, *, size: tuple[int, int], padding: int, border: str, fill: Fill
) -> tuple[Inverse, Size]:
    del fill
    new, padded = _size(old, size, "crop"), _padded(old, padding, border, "crop")
    return _at(*_corner(key, padded, new), padded, new), new


def _center_crop_matrix(key: PRNGKeyArray, old: Size, *, size: tuple[int, int]) -> tuple[Inverse, Size]:
    del key
    new = _size(old, size, "center_crop")
    return _at(*_middle(old, new), old, new), new


MATRICES: dict[str, Callable[..., tuple[Inverse, Size]]] = {
    "flip": _flip_matrix,
    "flip_vertical": _flip_vertical_matrix,
    "rot90": _rot90_matrix,
    "pad": _pad_matrix,
    "crop": _crop_matrix,
    "center_crop": _center_crop_matrix,
}


def _resize_window(key: PRNGKeyArray, old: Size, *, size: tuple[int, int]) -> tuple[Window, Size]:
    del key
    return _whole(old, size)


def _random_resized_window(
    key: PRNGKeyArray, old: Size, *, size: tuple[int, int], area_min: float, area_max: float, ratio: float
) -> tuple[Window, Size]:
    return random_window(key, old, area_min, area_max, ratio), _size(old, size, "random_resized_crop")


WINDOWS: dict[str, Callable[..., tuple[Window, Size]]] = {
    "resize": _resize_window,
    "random_resized_crop": _random_resized_window,
}
