"""What the pixels of a set look like."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def mean_std(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of uint8 [n h w c] images, in units of 0..1.

    From the histogram: exact, and without a float copy of the images.
    """
    levels = np.arange(256) / 255
    means, stds = [], []
    for channel in np.moveaxis(images, -1, 0):
        share = np.bincount(channel.ravel(), minlength=256) / channel.size
        mean = float(share @ levels)
        means.append(mean)
        stds.append(float(np.sqrt(share @ (levels - mean) ** 2)))
    return tuple(means), _at_least_a_level(stds)


def of_sums(
    sums: Int[np.ndarray, "n c"], squares: Int[np.ndarray, "n c"], pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`mean_std` of n images of `pixels` each, of which only the sums of the levels 0..255 and of their squares are
    known. In whole numbers until the last division, so that nothing cancels."""
    n = len(sums) * pixels
    totals = [(int(s), int(q)) for s, q in zip(sums.sum(0), squares.sum(0), strict=True)]
    means = tuple(s / (255 * n) for s, _ in totals)
    return means, _at_least_a_level([math.sqrt((n * q - s * s) / (255 * n) ** 2) for s, q in totals])


def _at_least_a_level(stds: Sequence[float]) -> tuple[float, ...]:
    """So that a constant channel is not blown up."""
    return tuple(max(s, 1 / 255) for s in stds)
