"""Weights and images from names and seeds: the same numbers for every framework. Needs numpy only."""

import zlib
from collections.abc import Mapping

import numpy as np


def weights(shapes: Mapping[str, tuple[int, ...]], gain: float = 1.0) -> dict[str, np.ndarray]:
    """A torch-style state dict in torch's layout. `shapes` by name; no array depends on another's.

    `gain` is the variance of a kernel times its fan-in. It differs between architectures, for logits of about 1 to 10
    that the image still decides.
    """
    return {name: weight(name, tuple(shape), gain) for name, shape in shapes.items()}


def weight(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if name.endswith("weight"):  # convolutions and matrices; fan_in is all but the outputs
        return (rng.standard_normal(shape) * np.sqrt(gain / np.prod(shape[1:]))).astype(np.float32)
    return (0.1 * rng.standard_normal(shape)).astype(np.float32)  # biases, running means, embeddings


def images(seed: int, n: int, h: int, w: int) -> np.ndarray:
    """Already normalised, [n h w 3]."""
    return np.random.default_rng(seed).standard_normal((n, h, w, 3)).astype(np.float32)
