"""Changes of geometry for what belongs to an image: masks, boxes and keypoints.

Boxes are hulls of the moved corners, clipped to the image. Arrays keep their size, so nothing is taken out:
`box_visible` says how much of each object is left, the product over all changes, and 0.0 that there is nothing.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from efficient_jax.augment import entries
from efficient_jax.augment.kernels import resample
from efficient_jax.augment.kernels.barrier import barrier
from efficient_jax.augment.kernels.positions import Size
from efficient_jax.errors import UserError
from efficient_jax.types import Example

Inverse = Float[Array, "3 3"]
Points = Float[Array, "n 2"]
Change = tuple[Callable[[Points], Points], Size]  # of points from the center of the image; the new (height, width)
MAPS = ("mask", "object_map")
MOVED = (*MAPS, "boxes", "box_mask", "keypoints")
NEAREST = 1e-6  # of depths in a perspective, where that of the center of the image is 1


def move(example: Example, inverses: Float[Array, "*layers 3 3"], size: Size) -> Example:
    """Returns the example with every entry but the image changed by inverse warps.

    Boxes are moved by the product of the changes, so that hulls of hulls do not grow; what one of the changes moved out
    of the image does not come back with the next.

    Args:
        example: see types.Example.
        inverses: in order of the changes; each takes a point (x, y, 1) of its output to the point of its input, in
            pixels from the center of the image; the last row is (0, 0, 1), or that of a perspective.
        size: (height, width) of all outputs.

    Returns: the example; its image is the old one.

    Raises: UserError for entries that `entries.check` refuses.
    """
    example = entries.check(example)
    old = example["image"].shape[:2]
    layers = inverses.reshape(-1, 3, 3)
    if not any(name in example for name in MOVED):
        return example

    def look(mask: Shaped[Array, "h w"]) -> Shaped[Array, "h2 w2"]:
        for inverse in layers:
            mask = resample.nearest(mask, inverse[:2], size)
        return mask

    changes: list[Change] = [(partial(project, inverted(inverse)), size) for inverse in layers]
    moved = carry(example, old, changes, look)
    if old != size:
        return moved
    unchanged = jnp.all(layers == jnp.eye(3))  # then equal to the bit; adding and subtracting the center rounds
    if "boxes" in example:
        kept = unchanged & (moved["box_visible"] > 0)
        ordered = jnp.sort(example["boxes"].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        inside = jnp.clip(ordered, 0, jnp.tile(2 * _center(size, 0), 2))
        moved["boxes"] = jnp.where(kept[:, None], inside, moved["boxes"])
    if "keypoints" in example:
        moved["keypoints"] = jnp.where(unchanged, example["keypoints"], moved["keypoints"])
    return moved


def move_to(
    example: Example,
    seen: tuple[Float[Array, "h2 w2"], Float[Array, "h2 w2"]],
    forward: Callable[[Points], Points],
    points_per_side: int,
) -> Example:
    """Returns the example with every entry but the image changed, given the point that each pixel shows.

    Args:
        example: see types.Example.
        seen: (x, y) of the point that output pixel (i, j) shows, in pixels from the center of the upper left pixel.
        forward: takes points of the input to points of the output, in pixels from the center of the image.
        points_per_side: how many points of each side of a box are moved, see `carry`.

    Returns: the example; its image is the old one.
    """
    old = example["image"].shape[:2]
    look = partial(_nearest_to, seen=seen)
    return carry(example, old, [(forward, seen[0].shape)], look, points_per_side)


def _nearest_to(mask: Shaped[Array, "h w"], seen: tuple[Array, Array]) -> Shaped[Array, "h2 w2"]:
    return resample.nearest_to(mask, *seen)


def carry(
    example: Example,
    old: Size,
    changes: list[Change],
    look: Callable[[Shaped[Array, "h w"]], Shaped[Array, "h2 w2"]],
    points_per_side: int = 1,
) -> Example:
    """Returns the example with every entry but the image changed by functions of points.

    Args:
        example: see types.Example.
        old: (height, width) of the image.
        changes: in order, each from points of its input to points of its output, in pixels from the center of the
            image, and the (height, width) of the output.
        look: resamples a mask by all of them.
        points_per_side: how many points of each side of a box are moved; 1, its corner, where lines stay straight.

    Returns: the example; its image is the old one.
    """
    moved = dict(example)
    moved |= {name: look(example[name]) for name in MAPS if name in example}
    if "box_mask" in example:
        moved["box_mask"] = jax.vmap(look)(example["box_mask"])
    if "boxes" in example:
        moved |= _boxes(example, old, changes, points_per_side)
    if "keypoints" in example:
        points = example["keypoints"] - _center(old, 1)
        visible = example["keypoint_visible"]
        for change, size in changes:
            points = change(points)
            place = points + _center(size, 1)
            visible &= jnp.all((place >= -0.5) & (place < jnp.array([size[1] - 0.5, size[0] - 0.5])), axis=1)
        moved |= {"keypoints": place, "keypoint_visible": visible}
    return moved


def _boxes(example: Example, old: Size, changes: list[Change], points_per_side: int) -> Example:
    along = jnp.arange(points_per_side) / points_per_side
    ahead, zero, one = along, jnp.zeros_like(along), jnp.ones_like(along)
    rim = jnp.concatenate(  # clockwise around the unit square
        [jnp.stack(side, -1) for side in ((ahead, zero), (one, ahead), (1 - ahead, one), (zero, 1 - ahead))]
    )

    def hull(box: Float[Array, " 4"], change: Callable[[Points], Points]) -> Float[Array, " 4"]:
        points = change(box[:2] + rim * (box[2:] - box[:2]))
        return jnp.concatenate([points.min(0), points.max(0)])

    def through(box: Float[Array, " 4"]) -> tuple[Float[Array, " 4"], Float[Array, ""]]:
        window = box  # what is still to be seen of the box, however large the hull of the whole becomes
        whole = hull(box, lambda points: _after(points, changes))
        share = jnp.float32(1)
        for change, size in changes:
            seen = hull(window, change)
            window = _overlap(seen, jnp.tile(_center(size, 0), 2) * jnp.array([-1.0, -1.0, 1.0, 1.0]))
            share *= area(window) / jnp.maximum(area(seen), _TINY)
        return _overlap(whole, window), share

    boxes, share = jax.vmap(through)(example["boxes"] - jnp.tile(_center(old, 0), 2))
    visible = jnp.where(area(boxes) > 0, example["box_visible"] * share, 0.0)
    kept = jnp.where((visible > 0)[:, None], boxes + jnp.tile(_center(changes[-1][1], 0), 2), 0.0)
    return {"boxes": kept, "box_visible": visible}


_TINY = 1e-9


def _after(points: Points, changes: list[Change]) -> Points:
    for change, _ in changes:
        points = change(points)
    return points


def _overlap(box: Float[Array, " 4"], window: Float[Array, " 4"]) -> Float[Array, " 4"]:
    low, high = jnp.maximum(box[:2], window[:2]), jnp.minimum(box[2:], window[2:])
    return jnp.concatenate([low, jnp.maximum(low, high)])


def area(boxes: Float[Array, "*n 4"]) -> Float[Array, " *n"]:
    """Returns the areas of boxes.

    Args:
        boxes: (left, top, right, bottom) each.

    Returns: square pixels.
    """
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def boxes_of_masks(box_mask: Bool[Array, "n h w"]) -> Float[Array, "n 4"]:
    """Returns the smallest box around the pixels of each mask.

    Args:
        box_mask: the pixels of each object.

    Returns: (left, top, right, bottom) in pixels, (0, 0, 0, 0) where a mask has none.
    """

    def ends(line: Bool[Array, "n length"]) -> tuple[Array, Array]:
        place = jnp.arange(line.shape[1], dtype=jnp.int32)
        return jnp.min(jnp.where(line, place, line.shape[1]), axis=1), jnp.max(jnp.where(line, place + 1, 0), axis=1)

    # Without the barrier every comparison of the ends reads the whole masks anew.
    columns, rows = barrier((jnp.any(box_mask, axis=1), jnp.any(box_mask, axis=2)))
    (left, right), (top, bottom) = ends(columns), ends(rows)
    boxes = jnp.stack([left, top, right, bottom], axis=1).astype(jnp.float32)
    return jnp.where((right > 0)[:, None], boxes, 0.0)


def _center(size: Size, less: int) -> Float[Array, " 2"]:
    """Returns the image's center (x, y) from its corner (less = 0) or the center of its first pixel (less = 1)."""
    return jnp.array([(size[1] - less) / 2, (size[0] - less) / 2], jnp.float32)


def project(matrix: Inverse, points: Points) -> Points:
    """Returns points changed by a matrix.

    Args:
        matrix: affine or a perspective.
        points: (x, y) in pixels from the center of the image.

    Returns: the points; one beyond the horizon of a perspective is far outside.
    """
    x, y = points.T
    along_x, along_y, depth = (row[0] * x + row[1] * y + row[2] for row in matrix)
    depth = jnp.maximum(depth, NEAREST)  # a point beyond the horizon is far outside, not mirrored into the image
    return jnp.stack([along_x, along_y], -1) / depth[:, None]


def inverted(matrix: Inverse) -> Inverse:
    """Returns the inverse by cofactors: no call to LAPACK for nine numbers, in a loop over images.

    Args:
        matrix: 3x3, not singular.

    Returns: its inverse.
    """
    a, b, c = matrix
    cofactors = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    return cofactors / jnp.dot(a, cofactors[:, 0], precision="highest")


def filter_boxes(
    key: PRNGKeyArray, example: Example, *, min_area: float = 0.0, min_visibility: float = 0.0, at_most: int = 0
) -> Example:
    """Drops boxes that are too small or too little in view.

    Dropped means `box_visible` = 0.0, a box of zeros, an empty `box_mask`, and 0 in `object_map`.

    Args:
        key, example: see types.Example.
        min_area: smallest area of a box that is kept, in square pixels, 0.0 or more.
        min_visibility: smallest share of the object that is in view, in 0..1.
        at_most: rows that are kept, those with an object first and in order, 0 or more; 0 keeps all rows.

    Returns: the example; without boxes it is unchanged.

    Raises: UserError for settings outside their ranges.
    """
    del key
    if min_area < 0 or not 0 <= min_visibility <= 1 or at_most < 0:
        raise UserError("filter_boxes: min_area and at_most are not negative, min_visibility is in 0..1")
    if "boxes" not in example:
        return example
    kept = (area(example["boxes"]) >= min_area) & (example["box_visible"] >= min_visibility)
    kept &= example["box_visible"] > 0
    filtered = example | {
        "boxes": jnp.where(kept[:, None], example["boxes"], 0.0),
        "box_visible": jnp.where(kept, example["box_visible"], 0.0),
    }
    if "box_mask" in example:
        filtered["box_mask"] = example["box_mask"] & kept[:, None, None]
    rows = jnp.arange(len(kept), dtype=jnp.int32)
    first = jnp.argsort(~kept, stable=True)[:at_most] if at_most else rows
    if "object_map" in example:
        numbers = (
            jnp.zeros(len(kept) + 1, jnp.int32).at[first + 1].set(jnp.where(kept[first], rows[: len(first)] + 1, 0))
        )
        filtered["object_map"] = numbers[example["object_map"]]
    if not at_most:
        return filtered
    box_entries = [name for name in filtered if name == "boxes" or name.startswith("box_")]
    return filtered | {name: filtered[name][first] for name in box_entries}
