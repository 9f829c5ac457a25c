"""Objects of a set, by their boxes: how many, how large, and how much they cover each other."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.inference.boxes import intersection_over_union

HIDING = 0.1  # from this IoU on, of two boxes one is taken to hide part of the other


class Objects(NamedTuple):
    counts: Int[np.ndarray, "n"]  # of each image
    areas: Float[np.ndarray, "m"]  # of each object, as a share of its picture
    overlaps: Float[np.ndarray, "m"]  # its largest IoU with another of the picture


def area(boxes: Float[np.ndarray, "*a 4"]) -> Float[np.ndarray, "*a"]:
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(-1)


def objects(boxes: Float[np.ndarray, "n k 4"], visible: Float[np.ndarray, "n k"], size: tuple[int, int]) -> Objects:
    """Of pictures of `size` (height, width); `boxes` and `visible` as in `types.Example`."""
    there = visible > 0
    edges = np.moveaxis(boxes, -1, 0)
    pairs = intersection_over_union(edges[..., None], edges[:, :, None]) * (there[:, :, None] & there[:, None])
    pairs[:, np.eye(boxes.shape[1], dtype=bool)] = 0
    return Objects(there.sum(1), area(boxes)[there] / np.prod(size), pairs.max(2, initial=0)[there])
