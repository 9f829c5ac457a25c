"""Noise with a colour for each class, where no images are at hand."""

import numpy as np

from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError


def synthetic(*, classes: int, size: int, images: int, channels: int = 3, seed: int = 0) -> Source:
    """Noise whose mean colour is that of the class: something to learn where no images are at hand.

    For smoke tests and throughput; accuracy on it says nothing about photographs.
    """
    for name, value, least in (("classes", classes, 2), ("size", size, 1), ("images", images, classes)):
        if value < least:
            raise UserError(f"config.data.source.{name}: {value} asked; want at least {least}")
    if channels < 1:
        raise UserError(f"config.data.source.channels: {channels} asked; want at least 1")
    rng = np.random.default_rng(seed)
    labels = np.arange(images, dtype=np.int32) % classes
    pixels = rng.integers(0, 128, (images, size, size, channels), dtype=np.uint8)
    pixels += rng.integers(0, 128, (classes, channels), dtype=np.uint8)[labels][:, None, None]
    return Source(pixels, labels, tuple(str(number) for number in range(classes)))
