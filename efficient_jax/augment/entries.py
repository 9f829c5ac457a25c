"""Checks the entries of an example, and wraps every operation, mix and combinator with that check.

Shapes and dtypes are known while a program is traced, so the check costs nothing in a compiled program. The entries
and their meaning are those of `efficient_jax.types.Example`.
"""

import functools
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, Shaped

from efficient_jax.augment.kernels import dtypes
from efficient_jax.errors import UserError
from efficient_jax.types import Augmentation, Batch, BatchKeys, Example

Dims = tuple[str | int, ...]

MOVED: dict[str, tuple[Dims, str]] = {
    "mask": (("h", "w"), "the class of each pixel, integer"),
    "boxes": (("n", 4), "left, top, right, bottom; what else belongs to an object has an entry 'box_...' [n ...]"),
    "box_visible": (("n",), "how much of each object is in the image"),
    "box_mask": (("n", "h", "w"), "the pixels of each object, bool"),
    "object_map": (("h", "w"), "the number of the object that each pixel shows, integer"),
    "keypoints": (("k", 2), "x, y; of several objects one behind the other"),
    "keypoint_visible": (("k",), "whether each keypoint is in the image"),
}
INTEGERS = {"mask": "integers", "object_map": "integers", "box_mask": "bool"}
PAIRS = (("boxes", "box_visible"), ("keypoints", "keypoint_visible"))
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "image": ("images", "img", "imgs"),
    "label": ("labels",),
    "mask": ("masks", "segmentation", "segmentations", "segmentation_mask", "semantic_mask", "seg_map"),
    "boxes": ("box", "bbox", "bboxes", "bounding_box", "bounding_boxes", "gt_boxes", "gt_bboxes"),
    "box_mask": ("masks", "instance_mask", "instance_masks", "object_mask", "object_masks", "segmentations"),
    "object_map": ("instance_map", "instance_maps", "instances", "object_maps", "objects_map"),
    "box_visible": ("boxes_visible", "box_visibility", "boxes_visibility", "bbox_visible", "bboxes_visible"),
    "keypoints": ("kpts", "kps", "landmarks", "joints"),
    "keypoint_visible": ("keypoints_visible", "keypoint_visibility", "keypoints_visibility"),
}
ROUNDING = 1e-3  # how far a float image may leave 0..1: a quarter of one of 256 levels


def checked(augmentation: Callable[..., Example]) -> Callable[..., Example]:
    """Returns the same augmentation of one example, with its entries checked and in their canonical dtypes.

    Args:
        augmentation: `(key, example, **settings) -> example`. bfloat16 and float16 images are computed in float32 and
            come back in their own dtype.

    Returns: `(key, example, **settings) -> example`, which raises what `require_keys`, `check` and `require_range`
        raise.
    """

    @functools.wraps(augmentation)
    def apply(key: PRNGKeyArray, example: Example, **settings: Any) -> Example:
        require_keys(key, ())
        example = check(example)
        require_range(example["image"])
        return _in_float32(functools.partial(augmentation, **settings), key, example)

    return apply


def checked_mix(mix: Callable[..., Batch]) -> Callable[..., Batch]:
    """Returns the same mix of a batch, with its entries checked and in their canonical dtypes.

    Images may be of any range: values are blended or pasted, never clipped.

    Args:
        mix: `(keys, batch, ..., **settings) -> batch`. bfloat16 and float16 images are computed in float32 and come
            back in their own dtype.

    Returns: a function with this signature, which raises what `check_batch` raises.
    """

    @functools.wraps(mix)
    def apply(keys: BatchKeys, batch: Batch, *more: Any, **settings: Any) -> Batch:
        return _in_float32(lambda *both: mix(*both, *more, **settings), keys, check_batch(keys, batch))

    return apply


def _in_float32(function: Callable[[Array, Example], Example], key: Array, example: Example) -> Example:
    dtype = example["image"].dtype
    if dtype not in (jnp.bfloat16, jnp.float16):
        return function(key, example)
    after = function(key, example | {"image": example["image"].astype(jnp.float32)})
    return after | {"image": after["image"].astype(dtype)}


def check_batch(keys: BatchKeys, batch: Batch) -> Batch:
    """Returns the batch as `check` does, and checks that there is one key for each example.

    Args:
        keys: random keys [b].
        batch: see types.Example, with a leading axis in every entry.

    Returns: the batch with its image and its targets in their canonical dtypes.

    Raises: UserError for another number of keys, and for what `check` refuses.
    """
    _require_names(batch)
    dtypes.require_image(batch, 1)
    rows = jnp.shape(batch["image"])[:1]
    require_keys(keys, rows)
    return check(batch, rows)


def check(example: Example, rows: tuple[int, ...] = ()) -> Example:
    """Returns the example with its image and its targets as JAX arrays of their canonical dtypes.

    Args:
        example: an `efficient_jax.types.Example`, or a batch of them. Boxes and keypoints become float32. Visibilities
            of any dtype mean visible above 0: `keypoint_visible` becomes bool, and `box_visible` float32, where
            booleans and integers are 1.0 above 0. Integers of a `box_mask` above 0 are pixels of the object.
            `object_map` becomes int32: collages add to its numbers.
        rows: the leading axes of every entry: () for one example, (b,) for a batch.

    Returns: the example itself where nothing changes.

    Raises: UserError for a missing image, for shapes that do not match the image or each other, for dtypes that are not
        those of `Example`, for `boxes` without `box_visible`, and for names that look like those of targets.
    """
    _require_names(example)
    arrays = {name: _array(x) for name, x in example.items() if name in MOVED or name == "image"}
    dtypes.require_image(arrays, len(rows))
    for name, x in example.items():
        if rows and jnp.shape(x)[:1] != rows:
            raise UserError(f"{name!r} is {_of(x)}, but the batch has {rows[0]} images: want a row for each")
    _require_shapes(example | arrays, len(rows))
    for pair in PAIRS:
        for entry, beside in (pair, pair[::-1]):
            if entry in example and beside not in example:
                raise UserError(f"an example with {entry!r} needs {beside!r} too, one row for each")
    canonical = {name: _canonical(name, x) for name, x in arrays.items()}
    changed = {name: x for name, x in canonical.items() if x is not example[name]}
    return example | changed if changed else example


def _require_names(example: Example) -> None:
    for name in example.keys() - OTHER_NAMES.keys():
        meant = [right for right, wrong in OTHER_NAMES.items() if name.lower() in (right, *wrong)]
        if meant := meant or get_close_matches(name.lower(), MOVED, n=1, cutoff=0.85):
            what = " or ".join(f"{right!r}{_meaning(right)}" for right in meant)
            raise UserError(f"{name!r} is no entry that operations change; did you mean {what}?")


def _meaning(name: str) -> str:
    return f" [{_dims(MOVED[name][0])}] ({MOVED[name][1]})" if name in MOVED else ""


def _dims(dims: Dims) -> str:
    return " ".join(map(str, dims))


def _of(x: Any) -> str:
    return f"{jnp.result_type(x)}{list(jnp.shape(x))}"


def _array(x: Any) -> Array:
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


def _require_shapes(example: Example, lead: int) -> None:
    """Checks that targets have the size of the image and agree in their numbers of objects and keypoints."""
    height, width = example["image"].shape[lead:][:2]
    sizes = {"h": (height, "image"), "w": (width, "image")}  # of a dimension, and which entry has it
    for name in [name for name in MOVED if name in example] + sorted(example.keys() - MOVED.keys()):
        x = example[name]
        rows = "n" if name.startswith("box_") else "k" if name.startswith("keypoint_") else ""
        dims, meaning = MOVED.get(name, ((rows, "..."), "a row each"))
        if name not in MOVED and not rows:
            continue
        shape = jnp.shape(x)[lead:]
        wrong = f"{name!r} is {_of(x)}, not [{'b ' * lead}{_dims(dims)}]"
        if (len(shape) != len(dims)) if name in MOVED else not shape:
            raise UserError(f"{wrong}: {meaning}")
        for dim, length in zip(dims, shape, strict=False):
            wanted, other = (dim, "") if isinstance(dim, int) else sizes.setdefault(dim, (length, name))
            if length != wanted and dim != "...":
                raise UserError(f"{wrong}: {f'{other!r} is {_of(example[other])}' if other else meaning}")


def _canonical(name: str, x: Shaped[Array, " ..."]) -> Shaped[Array, " ..."]:
    real, whole = jnp.issubdtype(x.dtype, jnp.floating), x.dtype == bool or jnp.issubdtype(x.dtype, jnp.integer)
    if name != "image" and not (whole or (real and name not in INTEGERS)):
        kind = INTEGERS.get(name, "numbers")
        raise UserError(f"{name!r} is {_of(x)}, not of {kind}: {MOVED[name][1]}")
    if name in ("box_mask", "keypoint_visible") or (name == "box_visible" and whole):
        above_zero = x if x.dtype == bool else x > 0
        return above_zero.astype(jnp.float32) if name == "box_visible" else above_zero
    if name == "object_map":
        return x.astype(jnp.int32)
    return x if name in ("image", "mask") or x.dtype == jnp.float32 else x.astype(jnp.float32)


def require_keys(keys: Any, rows: tuple[int, ...]) -> None:
    """Checks that there is one key for one example, or one for each example of a batch.

    Args:
        keys: random keys, typed or raw uint32.
        rows: () for one example, (b,) for a batch.

    Raises: UserError for another number of keys, and for what is not a random key.
    """
    dtype = getattr(keys, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and dtype != jnp.uint32:
        raise UserError(f"a random key is jax.random.key(seed), not {keys!r} ({type(keys).__name__})")
    shape = tuple(keys.shape if typed else keys.shape[:-1])  # raw keys have an axis of their own
    if shape == rows:
        return
    got = "one key" if shape == () else f"keys of shape {list(shape)}"
    if rows:
        raise UserError(f"want one key for each of {rows[0]} examples, jax.random.split(key, {rows[0]}); got {got}")
    raise UserError(f"want one key for one example, got {got}; a batch goes through jax.vmap of the operation")


def require_range(image: Shaped[Array, " *shape"]) -> None:
    """Refuses float images outside 0..1 where their values are known, which they are not while a program is traced.

    Args:
        image: uint8 or float, of any shape. Float values may leave 0..1 by ROUNDING.

    Raises: UserError for a float image outside 0..1.
    """
    if image.dtype == jnp.uint8 or isinstance(image, jax.core.Tracer) or not image.size:
        return
    values = np.asarray(image, np.float32)  # also of a constant inside `jit`, of which jnp would return tracers
    least, most = values.min(), values.max()
    if not -ROUNDING <= least <= most <= 1 + ROUNDING:
        raise UserError(
            f"a float image is in 0..1, this one is in {least:g}..{most:g}; divide levels by 255, and normalize after "
            "the augmentation"
        )


def require_augmentations(where: str, augmentations: Sequence[Augmentation]) -> None:
    """Checks that these are several functions `(key, example) -> example`.

    Args:
        where: the combinator, for the error message.
        augmentations: a tuple or list of functions.

    Raises: UserError for anything else.
    """
    several = isinstance(augmentations, tuple | list)
    if wrong := [each for each in augmentations if not callable(each)] if several else [augmentations]:
        hint = "names stand in a config" if isinstance(wrong[0], str) else "one alone is (augmentation,)"
        raise UserError(f"{where}: want a tuple of functions (key, example) -> example, got {wrong[0]!r}; {hint}")
