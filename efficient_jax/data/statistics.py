"""Mean and standard deviation of the pixels of a dataset."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

CHUNK = 64  # images that are counted at once: a count makes a copy of eight bytes per pixel


def mean_std(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the mean and standard deviation of each channel over all pixels.

    They come from the histogram: exact, and without a float copy of the images.

    Args:
        images: uint8 [n h w c], n of 1 or more.

    Returns: (mean, standard deviation) of each channel, in units of 0..1; the latter at least 1/255.
    """
    levels = np.arange(256) / 255
    means, stds = [], []
    starts = range(0, len(images), CHUNK)
    for channel in np.moveaxis(images, -1, 0):
        counts = sum(np.bincount(channel[i : i + CHUNK].ravel(), minlength=256) for i in starts)
        share = counts / channel.size
        mean = float(share @ levels)
        means.append(mean)
        stds.append(float(np.sqrt(share @ (levels - mean) ** 2)))
    return tuple(means), _at_least_a_level(stds)


def of_sums(
    sums: Int[np.ndarray, "n c"], squares: Int[np.ndarray, "n c"], pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns what `mean_std` does, from the sums of each image or of several.

    Computed in integers until the last division, so that nothing cancels.

    Args:
        sums: int [n c], sums of the levels 0..255.
        squares: int [n c], sums of their squares.
        pixels: number of pixels of all images.

    Returns: (mean, standard deviation) of each channel, in units of 0..1; the latter at least 1/255.
    """
    totals = [(int(s), int(q)) for s, q in zip(sums.sum(0), squares.sum(0), strict=True)]
    means = tuple(s / (255 * pixels) for s, _ in totals)
    return means, _at_least_a_level([math.sqrt((pixels * q - s * s) / (255 * pixels) ** 2) for s, q in totals])


def _at_least_a_level(stds: Sequence[float]) -> tuple[float, ...]:
    """Returns standard deviations of 1/255 or more, so that a constant channel is not divided by 0."""
    return tuple(max(s, 1 / 255) for s in stds)
