"""Small images by which near duplicates are found."""

import functools

import numpy as np
from jaxtyping import Float, UInt8

CELL, MARGIN = 2, 1  # points per bit of a hash along each axis, and at each border, which a shift may uncover
GRID = 8 * CELL + 2 * MARGIN, 9 * CELL + 2 * MARGIN


def thumbnails(images: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n 18 20 c"]:
    """Returns means over the cells of a grid, whatever the size of the images: uint8 [n *GRID c].

    Args:
        images: uint8 [n h w c].
    """
    y, x = (_area(pixels, points) for pixels, points in zip(images.shape[1:3], GRID, strict=True))
    rows = np.tensordot(images.astype(np.float32), y, (1, 1))  # n w c y
    means = np.tensordot(rows, x, (1, 1))  # n c y x
    return np.rint(means).astype(np.uint8).transpose(0, 2, 3, 1)


@functools.cache
def _area(pixels: int, points: int) -> Float[np.ndarray, "points pixels"]:
    """Returns the share of each pixel in each of `points` equal parts of the side."""
    edges, left = np.linspace(0, pixels, points + 1)[:, None], np.arange(pixels)
    covered = np.minimum(edges[1:], left + 1) - np.maximum(edges[:-1], left)
    share: np.ndarray = np.maximum(covered, 0) * points / pixels
    return share.astype(np.float32)
