"""Which location of a detector answers for which true box, and with which numbers: FCOS (arXiv 1904.01355).

A location is the center of a cell of a level of the pyramid. It answers for a box if it is inside of it, near its
center, and if the farthest edge of the box is within the range of the level; if that is true of several boxes, for the
smallest.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from efficient_jax.errors import UserError

RADIUS = 1.5  # strides from the center of a box, along each axis, within which a location answers for it
REACH = 8.0  # strides to the farthest edge of a box that a level answers for: 64 pixels at stride 8, as in the paper


class Locations(NamedTuple):
    """The locations of a detector, level by level from fine to coarse, each row by row."""

    centers: Float[Array, "l 2"] | Float[np.ndarray, "l 2"]  # (x, y) in pixels from the upper left corner of the image
    strides: Float[Array, " l"] | Float[np.ndarray, " l"]  # stride of the level, in pixels

    def ranges(self) -> tuple[Float[Array, " l"], Float[Array, " l"]]:
        """Returns (above which, up to which) distance to its farthest edge a location answers for a box, in pixels.

        The finest level begins at 0, and the coarsest has no end.
        """
        strides = jnp.asarray(self.strides)
        ascending = jnp.sort(strides)
        finer = jnp.searchsorted(ascending, strides) - 1  # the last one of the next finer level
        lowest = jnp.where(finer >= 0, REACH * ascending[finer], 0.0)
        return lowest, jnp.where(strides < ascending[-1], REACH * strides, jnp.inf)


def locations(image_shape: Sequence[int], strides: Sequence[int]) -> Locations:
    """Returns the locations of a detector.

    Args:
        image_shape: (height, width), or with channels, of the images in pixels.
        strides: of the levels in pixels, the finest first: `strides` of the network of `models.dense`.

    Raises: UserError for sides that are not multiples of each stride.
    """
    height, width = image_shape[:2]
    if uneven := [stride for stride in strides if height % stride or width % stride]:
        raise UserError(f"an image of {height}x{width} pixels is not divided by the stride {uneven[0]}; resize it")
    centers, repeated = [], []
    for stride in strides:
        rows, columns = np.indices((height // stride, width // stride)).reshape(2, -1)
        centers.append((np.stack([columns, rows], axis=1) + 0.5) * stride)
        repeated.append(np.full(len(rows), stride))
    return Locations(np.concatenate(centers).astype(np.float32), np.concatenate(repeated).astype(np.float32))


class Targets(NamedTuple):
    """What the locations of images should answer."""

    labels: Int[Array, "b l"]  # class of the box; -1: none
    distances: Float[Array, "b l 4"]  # to its left, top, right and bottom edge in pixels; zeros without a box
    centerness: Float[Array, "b l"]  # 1 at the center of the box, 0 at its edges and without a box


def targets(
    locations: Locations, boxes: Float[Array, "b n 4"], visible: Float[Array, "b n"], labels: Int[Array, "b n"]
) -> Targets:
    """Returns what the locations should answer for true boxes.

    Args:
        locations: of the detector.
        boxes: (left, top, right, bottom) in pixels, as `boxes` of `types.Example`.
        visible: visible share of each box, as `box_visible`; a row with 0 is no box.
        labels: class of each box; a row with -1 is no box.
    """
    exists = (visible > 0.0) & (labels >= 0)
    rows = ((0, 0), (0, 1))  # one more row without a box: there may be none at all
    padded = jnp.pad(boxes, (*rows, (0, 0))), jnp.pad(exists, rows), jnp.pad(labels, rows)
    return jax.vmap(functools.partial(_of_image, locations))(*padded)


def _of_image(locations: Locations, boxes: Float[Array, "n 4"], exists: Array, labels: Int[Array, " n"]) -> Targets:
    """Returns the targets of one image, without the leading axis."""
    lowest, highest = locations.ranges()
    centers = jnp.asarray(locations.centers)[:, None]
    distances = jnp.concatenate([centers - boxes[:, :2], boxes[:, 2:] - centers], axis=-1)  # [l n 4]
    offsets = jnp.abs(centers - (boxes[:, :2] + boxes[:, 2:]) / 2.0).max(-1)
    near = offsets < RADIUS * locations.strides[:, None]
    farthest = distances.max(-1)
    in_range = (farthest > lowest[:, None]) & (farthest <= highest[:, None])
    candidate = exists & (distances.min(-1) > 0.0) & near & in_range
    areas = jnp.where(candidate, (boxes[:, 2:] - boxes[:, :2]).prod(-1), jnp.inf)
    smallest = areas.argmin(1)
    has_box = candidate.any(1)
    chosen = jnp.where(has_box[:, None], jnp.take_along_axis(distances, smallest[:, None, None], 1)[:, 0], 0.0)
    return Targets(jnp.where(has_box, labels[smallest], -1), chosen, centerness(chosen))


def centerness(distances: Float[Array, "*b 4"]) -> Float[Array, " *b"]:
    """Returns how near to the center of its box a location is: sqrt of (nearer / farther edge), along x times along y.

    Args:
        distances: to the left, top, right and bottom edge, 0 or more.

    Returns: in 0..1; 0.0 where all distances along an axis are 0.
    """
    start, end = distances[..., :2], distances[..., 2:]
    farther = jnp.maximum(start, end)
    ratios = jnp.minimum(start, end) / jnp.where(farther > 0.0, farther, 1.0)
    return jnp.sqrt(ratios.prod(-1))
