"""Objects of a set: how many, how large, how much others cover them, and which the border cuts."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from efficient_jax.detection.boxes import intersection_over_union

HIDING = 0.1  # from this IoU on, of two boxes one is taken to hide part of the other
COVERED = 0.25  # from this share of its box on, an object is taken to be covered, or to cover
TOUCHING = 1.0  # pixels from the border, after the resize, up to which a box ends at it
BLOCK = 256  # images whose pairs of boxes are in memory together
WHOLE = 0.999  # share of a box that is visible where nothing of it was cropped


class Objects(NamedTuple):
    counts: Int[np.ndarray, "n"]  # of each image
    areas: Float[np.ndarray, "m"]  # of each object, as a share of its picture
    overlaps: Float[np.ndarray, "m"]  # its largest IoU with another of the picture
    covered: Float[np.ndarray, "m"]  # the share of its box that another's mask, or without masks another's box, takes
    longer: Float[np.ndarray, "m"]  # its longer side, as a share of that side of the picture
    at_border: Bool[np.ndarray, "m"]  # whether its whole box is visible and ends at the border of the picture
    cropped: Bool[np.ndarray, "m"]  # whether a part of its box is outside of the image


def area(boxes: Float[np.ndarray, "*a 4"]) -> Float[np.ndarray, "*a"]:
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(-1)


def objects(
    boxes: Float[np.ndarray, "n k 4"],
    visible: Float[np.ndarray, "n k"],
    size: tuple[int, int],
    masks: Bool[np.ndarray, "n k h w"] | None = None,
    borders: Float[np.ndarray, "n 4"] | None = None,
) -> Objects:
    """Measures the objects of images.

    Args:
        boxes, visible, masks: as in `types.Example`: `boxes`, `box_visible`, `box_mask`.
        size: (height, width) of the images.
        borders: (left, top, right, bottom) of the picture within each image; without them it is the whole image.
    """
    there = visible > 0
    parts = [_most(boxes[i : i + BLOCK], there[i : i + BLOCK]) for i in range(0, max(len(boxes), 1), BLOCK)]
    overlaps, covered = (np.concatenate(each) for each in zip(*parts, strict=True))
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)[there] / np.array(size[::-1])
    ends = np.tile(size[::-1], 2) * np.array([0, 0, 1, 1]) if borders is None else borders[:, None]
    touches = (np.abs(boxes - ends) <= TOUCHING).any(-1)
    whole = visible >= WHOLE
    return Objects(
        counts=there.sum(1),
        areas=area(boxes)[there] / np.prod(size),
        overlaps=overlaps[there],
        covered=(covered if masks is None else _by_masks(boxes, there, masks))[there],
        longer=sides.max(1),
        at_border=(touches & whole)[there],
        cropped=~whole[there],
    )


def _most(
    boxes: Float[np.ndarray, "n k 4"], there: Bool[np.ndarray, "n k"]
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """(the largest IoU of each box with another, the largest share of it that is inside of another)."""
    others = there[:, :, None] & there[:, None] & ~np.eye(boxes.shape[1], dtype=bool)
    edges = np.moveaxis(boxes, -1, 0)
    overlaps = intersection_over_union(edges[..., None], edges[:, :, None])
    low = np.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = np.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shares = np.maximum(high - low, 0).prod(-1) / np.maximum(area(boxes), 1e-9)[:, :, None]
    return (overlaps * others).max(2, initial=0), (shares * others).max(2, initial=0)


def _by_masks(
    boxes: Float[np.ndarray, "n k 4"], there: Bool[np.ndarray, "n k"], masks: Bool[np.ndarray, "n k h w"]
) -> Float[np.ndarray, "n k"]:
    """The share of each box that pixels of other objects take which are not its own too."""
    shares = np.zeros(there.shape)
    for image in range(len(boxes)):
        rows = np.flatnonzero(there[image])
        taken = masks[image, rows].any(0)
        for row in rows:
            left, top, right, bottom = boxes[image, row].round().astype(int)
            inside = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
            others = taken[inside] & ~masks[image, row][inside]
            shares[image, row] = others.mean() if others.size else 0.0
    return shares
