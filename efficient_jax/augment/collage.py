"""Operations that join the objects of several examples: boxes, their masks and keypoints come along.

Arrays of objects grow: mosaic makes four times as many, copy_paste twice; `filter_boxes` takes the empty ones out.
Examples without boxes do not grow.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, Shaped

from efficient_jax.augment.erasing import scaled
from efficient_jax.augment.kernels.targets import MAPS, area, boxes_of_masks
from efficient_jax.augment.mixing import maps_apart, mixed_label, partner, uniforms
from efficient_jax.augment.noise import hashed
from efficient_jax.errors import UserError, counted
from efficient_jax.types import Batch, BatchKeys, Example

SIZE_OF_MOSAIC = 4


def mosaic(keys: BatchKeys, batch: Batch, *, center_min: float = 0.25) -> Batch:
    """Puts four images side by side, and shows a window of one image's size around the corner where they meet.

    In place of image i stand i (upper left), i ^ 1 (upper right), i ^ 2 and i ^ 3 (below), unscaled, each the part next
    to the common corner, as in YOLOv4 (arXiv 2004.10934). The corner is uniform in center_min..1 - center_min of either
    side. Labels are mixed as the pixels are. Boxes are clipped, and `box_visible` is multiplied by the share of their
    area that is left.

    Args:
        keys: one key for each example.
        batch: see types.Example, with a leading axis; a multiple of 4 examples.
        center_min: nearest that the corner is to a border, as a share of the side, in 0..0.5; 0.5 is the middle.

    Returns: the batch with four times as many boxes and keypoints, image by image.

    Raises: UserError for a `center_min` outside 0..0.5, another number of examples, and labels that are not
        distributions.
    """
    if not 0 <= center_min <= 0.5:
        raise UserError(f"mosaic: center_min {center_min} is not in 0..0.5, the nearest that the corner is to a border")
    _, height, width, _ = batch["image"].shape
    corner = [_between(u, center_min, side) for u, side in zip(uniforms(keys, 2), (height, width), strict=True)]
    apart = batch if "boxes" in batch else batch | maps_apart(batch, SIZE_OF_MOSAIC)
    four = [{name: partner(x, which) for name, x in apart.items()} for which in range(SIZE_OF_MOSAIC)]
    y, x = corner
    areas = [y * x, y * (width - x), (height - y) * x, (height - y) * (width - x)]
    label = mixed_label(batch, [a.astype(jnp.float32) / (height * width) for a in areas])
    return batch | jax.vmap(_mosaic)(four, y, x) | label


def _between(uniform: Float[Array, " b"], least: float, side: int) -> Int32[Array, " b"]:
    first = round(least * side)
    return first + scaled(uniform, side - 2 * first + 1)


def _mosaic(four: list[Example], y: Int32[Array, ""], x: Int32[Array, ""]) -> Example:
    height, width, _ = four[0]["image"].shape

    def window(upper_left: Array, upper_right: Array, lower_left: Array, lower_right: Array) -> Array:
        canvas = jnp.concatenate(
            [jnp.concatenate([upper_left, upper_right], 1), jnp.concatenate([lower_left, lower_right], 1)]
        )
        return jax.lax.dynamic_slice(
            canvas, (height - y, width - x, *[0] * (canvas.ndim - 2)), (height, width, *canvas.shape[2:])
        )

    def window_of_one(mask: Bool[Array, "h w"], which: int) -> Bool[Array, "h w"]:
        return window(*(mask if i == which else jnp.zeros_like(mask) for i in range(SIZE_OF_MOSAIC)))

    if "boxes" in four[0] and "object_map" in four[0]:
        rows = len(four[0]["boxes"])
        four = [
            example | {"object_map": jnp.where(example["object_map"] > 0, example["object_map"] + which * rows, 0)}
            for which, example in enumerate(four)
        ]
    made = {name: window(*(each[name] for each in four)) for name in ("image", *MAPS) if name in four[0]}
    shifts = [jnp.stack([x - width * left, y - height * top]).astype(jnp.float32) for top in (1, 0) for left in (1, 0)]
    objects = []
    for which, (example, shift) in enumerate(zip(four, shifts, strict=True)):
        moved = _objects(example)
        if "boxes" in example:
            moved |= _shifted_boxes(example, shift, height, width)
        if "box_mask" in example:
            moved["box_mask"] = jax.vmap(window_of_one, (0, None))(example["box_mask"], which)
        if "keypoints" in example:
            points = example["keypoints"] + shift
            inside = jnp.all((points >= -0.5) & (points < jnp.array([width - 0.5, height - 0.5])), axis=1)
            moved |= {"keypoints": points, "keypoint_visible": example["keypoint_visible"] & inside}
        objects.append(moved)
    return made | _joined(objects)


def _shifted_boxes(example: Example, shift: Float[Array, " 2"], height: int, width: int) -> Example:
    boxes, visible = example["boxes"], example["box_visible"]
    borders = jnp.array([width, height] * 2, jnp.float32)
    clipped = jnp.clip(boxes + jnp.tile(shift, 2), 0, borders)
    visible *= area(clipped) / jnp.maximum(area(boxes), 1e-9)
    return {"boxes": jnp.where((visible > 0)[:, None], clipped, 0.0), "box_visible": visible}


def copy_paste(
    keys: BatchKeys,
    batch: Batch,
    *,
    object_probability: float | tuple[float, ...] = 0.5,
    min_visible: float = 0.1,
) -> Batch:
    """Pastes objects of the partner at the place where they are (arXiv 2012.07177).

    Objects are cut out by their `box_mask` or the `object_map`, and without these by their `boxes`. Without boxes too,
    the pixels of each class of the `mask` but 0 are an object, as in ClassMix (arXiv 2007.07936).

    Own objects lose the pixels that are covered: their boxes become tight around what is left, and `box_visible` is
    multiplied by its share of their pixels. `mask` takes the partner's classes at the pasted pixels, and labels are
    mixed as the pixels are. The paper changes the sizes of both images at random before: a random resized crop or an
    affine map.

    Args:
        keys: one key for each example.
        batch: see types.Example, with a leading axis; has `boxes`, `object_map` or `mask`.
        object_probability: probability that an object of the partner is pasted, in 0..1, drawn for each object; a tuple
            has one for each class, of `box_label` from 0 on or of `mask` from 1 on.
        min_visible: smallest share of an own object's pixels, in 0..1; with less left its `box_visible` becomes 0.0.
            Without boxes it is not read.

    Returns: the batch with twice as many boxes, first the own, then the partner's, visible where they were pasted;
        keypoints alike.

    Raises: UserError for settings outside their ranges, a batch without objects, an odd number of examples, and labels
        that are not distributions.
    """
    chances = object_probability if isinstance(object_probability, tuple) else (object_probability,)
    if not all(0 <= chance <= 1 for chance in (*chances, min_visible)):
        raise UserError(
            f"copy_paste: object_probability {object_probability} and min_visible {min_visible} are in 0..1"
        )
    own = batch if "boxes" in batch else batch | maps_apart(batch, 2)
    other = {name: partner(x) for name, x in own.items()}
    chance = _of_classes(other, object_probability) if isinstance(object_probability, tuple) else object_probability
    if "boxes" in batch:
        picked = chance > uniforms(keys, batch["boxes"].shape[1]).T
        made, share = jax.vmap(lambda *each: _paste_boxes(*each, min_visible=min_visible))(own, other, picked)
    elif "box_mask" not in batch and {"object_map", "mask"} & batch.keys():
        numbers = other["object_map" if "object_map" in other else "mask"]
        pasted = (numbers > 0) & (jax.vmap(_uniform)(keys, numbers) < chance)
        made, share = jax.vmap(_pasted)(own, other, pasted), jnp.mean(pasted, (1, 2), dtype=jnp.float32)
    else:
        raise UserError("copy_paste: no objects; want 'boxes' and their 'box_visible', an 'object_map', or a 'mask'")
    return batch | {name: made[name] for name in made.keys() & batch.keys()} | mixed_label(batch, [1 - share, share])


def _paste_boxes(
    own: Example, other: Example, picked: Bool[Array, " n"], *, min_visible: float
) -> tuple[Example, Float[Array, ""]]:
    own, other = (example | {"box_mask": _shapes(example)} for example in (own, other))
    picked &= (other["box_visible"] > 0) & jnp.any(other["box_mask"], axis=(1, 2))
    cut_out = other["box_mask"] & picked[:, None, None]
    pasted = jnp.any(cut_out, axis=0)
    left = own["box_mask"] & ~pasted
    before, after = _pixels(own["box_mask"]), _pixels(left)
    share = jnp.where(before > 0, after / jnp.maximum(before, 1), 1.0)
    visible = jnp.where((share > 0) & (share >= min_visible), own["box_visible"] * share, 0.0)
    boxes = jnp.where((share < 1)[:, None], boxes_of_masks(left), own["boxes"])
    below = {
        "box_mask": left & (visible > 0)[:, None, None],
        "box_visible": visible,
        "boxes": jnp.where((visible > 0)[:, None], boxes, 0.0),
    }
    above = {
        "box_mask": cut_out,
        "box_visible": jnp.where(picked, other["box_visible"], 0.0),
        "boxes": jnp.where(picked[:, None], other["boxes"], 0.0),
    }
    made = _pasted(own | below, other | above, pasted)
    number = jnp.arange(1, len(made["boxes"]) + 1, dtype=jnp.int32)[:, None, None]
    made["object_map"] = jnp.max(jnp.where(made["box_mask"], number, 0), axis=0, initial=0)
    return made, jnp.mean(pasted, dtype=jnp.float32)


def _shapes(example: Example) -> Bool[Array, "n h w"]:
    """Returns the pixels of each object with a box."""
    boxes, (height, width) = example["boxes"], example["image"].shape[:2]
    if "box_mask" in example:
        shapes: Array = example["box_mask"]
    elif "object_map" in example:
        shapes = example["object_map"] == jnp.arange(1, len(boxes) + 1, dtype=jnp.int32)[:, None, None]
    else:
        left, top, right, bottom = boxes.T[:, :, None, None]
        x, y = (jnp.arange(side, dtype=jnp.float32) + 0.5 for side in (width, height))
        y = y[:, None]
        shapes = (left <= x) & (x < right) & (top <= y) & (y < bottom)
    return shapes


def _of_classes(batch: Batch, values: tuple[float, ...]) -> Float[Array, "b n"] | Float[Array, "b h w"]:
    """Returns the value of the class of each object, or of each pixel where there are no boxes; 0.0 for no class."""
    name, first = ("box_label", 0) if "boxes" in batch else ("mask", 1)
    if name not in batch:
        raise UserError(f"copy_paste: object_probability has a value for each class, and the batch no {name!r}")
    if "label" in batch and batch["label"].shape[-1] != len(values):
        classes = counted(batch["label"].shape[-1], "class", "classes")
        raise UserError(f"copy_paste: object_probability has {counted(len(values), 'value')} for {classes}")
    return jnp.array((0.0, *values), jnp.float32)[batch[name].astype(jnp.int32) + (1 - first)]


def _uniform(key: PRNGKeyArray, numbers: Shaped[Array, "h w"]) -> Float[Array, "h w"]:
    """Returns a number uniform in [0, 1) for each pixel, the same for equal numbers."""
    bits = hashed(numbers.astype(jnp.uint32), jax.random.bits(key, (2,)))
    return (bits >> 8).astype(jnp.float32) * 2.0**-24


def _pasted(own: Example, other: Example, pasted: Bool[Array, "h w"]) -> Example:
    """Returns the own example under the pasted pixels of the other, with the objects and keypoints of both."""
    if "keypoints" in own:
        own = own | {"keypoint_visible": own["keypoint_visible"] & ~_at(pasted, own["keypoints"])}
        other = other | {"keypoint_visible": other["keypoint_visible"] & _at(pasted, other["keypoints"])}
    made = _joined([_objects(own), _objects(other)])
    for name in ("image", *MAPS):
        if name in own:
            where = pasted.reshape(pasted.shape + (1,) * (own[name].ndim - 2))
            made[name] = jnp.where(where, other[name], own[name])
    return made


def _pixels(box_mask: Bool[Array, "n h w"]) -> Float[Array, " n"]:
    # Short integers down the columns: four times as fast as one sum in int32.
    return jnp.sum(jnp.sum(box_mask, axis=1, dtype=jnp.uint16), axis=1, dtype=jnp.int32).astype(jnp.float32)


def _at(mask: Bool[Array, "h w"], points: Float[Array, "k 2"]) -> Bool[Array, " k"]:
    """Returns the mask at the points, False outside."""
    x, y = jnp.round(points).astype(jnp.int32).T
    height, width = mask.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    is_set: Array = inside & mask[jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)]
    return is_set


def _objects(example: Example) -> Example:
    """Returns the entries that have a row for each object or keypoint."""
    return {name: x for name, x in example.items() if name.startswith(("boxes", "box_", "keypoint"))}


def _joined(parts: list[Example]) -> Example:
    return {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]}
