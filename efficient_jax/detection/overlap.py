"""Statistics of the objects of a dataset: count, size, mutual overlap, and contact with the image border."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from efficient_jax.detection.boxes import intersection_over_union

HIDING = 0.1  # IoU from which one of two boxes is taken to hide part of the other
COVERED = 0.25  # share of a box from which its object is taken to be covered, or to cover
TOUCHING = 1.0  # distance from the border in pixels, after the resize, up to which a box touches it
PAIRS = 2_000_000  # of boxes, that are in memory at once
WHOLE = 0.999  # visible share from which a box counts as not cropped


class Objects(NamedTuple):
    """Measurements of the n images and m objects of a dataset."""

    counts: Int[np.ndarray, " n"]  # objects of each image
    areas: Float[np.ndarray, " m"]  # area of each object's box as a share of its image
    overlaps: Float[np.ndarray, " m"]  # its largest IoU with another object of the image
    covered: Float[np.ndarray, " m"]  # share of its box under the mask of another object, or without masks under a box
    longer: Float[np.ndarray, " m"]  # the larger of width and height as shares of the image's width and height
    at_border: Bool[np.ndarray, " m"]  # whether its box is entirely visible and touches the border of the image
    cropped: Bool[np.ndarray, " m"]  # whether a part of its box is outside of the image


def area(boxes: Float[np.ndarray, "*a 4"]) -> Float[np.ndarray, " *a"]:
    """Returns the areas of boxes, in square units of their coordinates.

    Args:
        boxes: (left, top, right, bottom) along the last axis.

    Returns:
        float [*a]; 0.0 for empty boxes.
    """
    areas: np.ndarray = np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(-1)
    return areas


def touching(boxes: Float[np.ndarray, "*a 4"], borders: Real[np.ndarray, "*#a 4"]) -> Bool[np.ndarray, " *a"]:
    """Returns which boxes touch the border of their image.

    Args:
        boxes: (left, top, right, bottom) in pixels.
        borders: (left, top, right, bottom) of the image of each.
    """
    touches: np.ndarray = (np.abs(boxes - borders) <= TOUCHING).any(-1)
    return touches


def objects(
    boxes: Float[np.ndarray, "n k 4"],
    visible: Float[np.ndarray, "n k"],
    size: tuple[int, int],
    masks: Bool[np.ndarray, "n k h w"] | None = None,
    borders: Float[np.ndarray, "n 4"] | None = None,
) -> Objects:
    """Measures the objects of images.

    Args:
        boxes: (left, top, right, bottom) in pixels, as `boxes` of `types.Example`.
        visible: visible share of each box in 0..1, 0 for padding, as `box_visible`.
        size: (height, width) of the images in pixels.
        masks: pixels of each object, as `box_mask`; None for datasets without masks.
        borders: (left, top, right, bottom) of the content within each padded image, in pixels; None for whole images.

    Returns:
        The measurements; objects are in the order of the images and boxes.
    """
    present = visible > 0
    block = max(1, PAIRS // max(boxes.shape[1], 1) ** 2)  # images
    parts = [_most(boxes[i : i + block], present[i : i + block]) for i in range(0, max(len(boxes), 1), block)]
    overlaps, covered = (np.concatenate(blocks) for blocks in zip(*parts, strict=True))
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)[present] / np.array(size[::-1])
    border = np.tile(size[::-1], 2) * np.array([0, 0, 1, 1]) if borders is None else borders[:, None]
    whole = visible >= WHOLE
    return Objects(
        counts=present.sum(1),
        areas=area(boxes)[present] / np.prod(size),
        overlaps=overlaps[present],
        covered=(covered if masks is None else _by_masks(boxes, present, masks))[present],
        longer=sides.max(1),
        at_border=(touching(boxes, border) & whole)[present],
        cropped=~whole[present],
    )


def _most(
    boxes: Float[np.ndarray, "n k 4"], present: Bool[np.ndarray, "n k"]
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Returns (the largest IoU of each box with another, the largest share of it inside of another box)."""
    others = present[:, :, None] & present[:, None] & ~np.eye(boxes.shape[1], dtype=bool)
    edges = np.moveaxis(boxes, -1, 0)
    overlaps = intersection_over_union(edges[..., None], edges[:, :, None])
    low = np.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = np.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shares = np.maximum(high - low, 0).prod(-1) / np.maximum(area(boxes), 1e-9)[:, :, None]
    return (overlaps * others).max(2, initial=0), (shares * others).max(2, initial=0)


def _by_masks(
    boxes: Float[np.ndarray, "n k 4"], present: Bool[np.ndarray, "n k"], masks: Bool[np.ndarray, "n k h w"]
) -> Float[np.ndarray, "n k"]:
    """Returns the share of each box that is covered by pixels of other objects and not by its own."""
    shares = np.zeros(present.shape)
    for image in range(len(boxes)):
        rows = np.flatnonzero(present[image])
        taken = masks[image, rows].any(0)
        for row in rows:
            left, top, right, bottom = boxes[image, row].round().astype(int)
            inside = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
            others = taken[inside] & ~masks[image, row][inside]
            shares[image, row] = others.mean() if others.size else 0.0
    return shares
