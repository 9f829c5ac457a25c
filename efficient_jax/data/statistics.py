"""What the pixels of a set look like."""

import numpy as np


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
    return tuple(means), tuple(max(s, 1 / 255) for s in stds)  # a constant channel is not blown up
