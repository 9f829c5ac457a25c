"""Changes that move whole pixels or the image's frame: flips, quarter turns, crop, pad."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, PRNGKeyArray

from efficient_jax import settings
from efficient_jax.augment.kernels import dtypes, targets
from efficient_jax.augment.kernels.dtypes import Fill
from efficient_jax.augment.kernels.matrices import rotation, translation, zooming
from efficient_jax.augment.kernels.positions import BORDERS, Size
from efficient_jax.augment.kernels.targets import Inverse
from efficient_jax.errors import UserError
from efficient_jax.types import Example


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
        border: what is added: constant (`fill`), reflect or edge (`positions.BORDERS`); masks always get 0.
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
    new = checked_size(example["image"].shape, size, "crop")
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
    new = checked_size(example["image"].shape, size, "center_crop")
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


def checked_size(old: Size, size: tuple[int, int], name: str) -> Size:
    """Returns the size that an operation asks for.

    Args:
        old: (height, width) of the image, the result for (0, 0).
        size: (height, width) in pixels.
        name: of the operation, for errors.

    Raises: UserError for lengths that are not whole and positive.
    """
    if tuple(size) == (0, 0):
        return old[0], old[1]
    if len(size) != 2 or not all(isinstance(length, int) and length > 0 for length in size):
        raise UserError(f"{name}: size {size} is not (height, width) in pixels, 1 or more each")
    return size[0], size[1]


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
    new, padded = checked_size(old, size, "crop"), _padded(old, padding, border, "crop")
    return _at(*_corner(key, padded, new), padded, new), new


def _center_crop_matrix(key: PRNGKeyArray, old: Size, *, size: tuple[int, int]) -> tuple[Inverse, Size]:
    del key
    new = checked_size(old, size, "center_crop")
    return _at(*_middle(old, new), old, new), new


MATRICES: dict[str, Callable[..., tuple[Inverse, Size]]] = {
    "flip": _flip_matrix,
    "flip_vertical": _flip_vertical_matrix,
    "rot90": _rot90_matrix,
    "pad": _pad_matrix,
    "crop": _crop_matrix,
    "center_crop": _center_crop_matrix,
}
