"""Noise with a mean color for each class, for tests without a dataset."""

import numpy as np

from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError


def synthetic(*, classes: int, size: int, images: int, channels: int = 3, seed: int = 0) -> Source:
    """Returns images of noise whose mean color depends on the class.

    For smoke tests and throughput; accuracy on it says nothing about photographs.

    Args:
        classes: number of classes, 2 or more.
        size: side of the square images, in pixels, 1 or more.
        images: number of images, at least `classes`; the classes take turns.
        channels: number of channels, 1 or more.
        seed: of the noise and the colors, 0 or more.

    Returns: a dataset with labels `i % classes` and the classes "0", "1", ...

    Raises: UserError for a number that is too small.
    """
    for name, value, minimum in (("classes", classes, 2), ("size", size, 1), ("images", images, classes)):
        if value < minimum:
            raise UserError(f"config.data.source.{name}: {value} asked; want at least {minimum}")
    if channels < 1:
        raise UserError(f"config.data.source.channels: {channels} asked; want at least 1")
    rng = np.random.default_rng(seed)
    labels = np.arange(images, dtype=np.int32) % classes
    pixels = rng.integers(0, 128, (images, size, size, channels), dtype=np.uint8)
    pixels += rng.integers(0, 128, (classes, channels), dtype=np.uint8)[labels][:, None, None]
    return Source(pixels, labels, tuple(str(index) for index in range(classes)))
