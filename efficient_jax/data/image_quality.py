"""What each image is like: how bright, noisy and sharp."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
CHUNK_PIXELS = 2**21  # for which a thread is asked at once: what it needs stays small


class Quality(NamedTuple):
    brightness: Float[np.ndarray, " n"]  # mean of the grey levels, 0..1
    highlights: Float[np.ndarray, " n"]  # the level that 1% of the pixels exceed, 0..1
    contrast: Float[np.ndarray, " n"]  # standard deviation of the grey levels, 0..0.5
    noise: Float[np.ndarray, " n"]  # standard deviation, in levels of 255
    sharpness: Float[np.ndarray, " n"]  # variance of the Laplacian, in levels squared
    edge_width: Float[np.ndarray, " n"]  # standard deviation of the blur of edges, in pixels


def quality(images: UInt8[np.ndarray, "n h w c"]) -> Quality:
    """Every measure of every image, by as many threads as there are cores; noise, sharpness and width are NaN where a
    side is shorter than 3 pixels."""
    size = max(1, CHUNK_PIXELS // (images.shape[1] * images.shape[2]))

    def of(start: int) -> Quality:
        levels = grey(images[start : start + size])
        some = levels[:, ::2, ::2].reshape(len(levels), -1)
        basic = levels.mean((1, 2)) / 255, np.quantile(some, 0.99, axis=1) / 255, levels.std((1, 2)) / 255
        if min(levels.shape[1:]) < 3:
            return Quality(*basic, *[np.full(len(levels), np.nan, np.float32)] * 3)
        return Quality(*basic, noise(levels), sharpness(levels), edge_width(levels))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(of, range(0, len(images), size)))
    return Quality(*map(np.concatenate, zip(*parts, strict=True)))


def grey(images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n h w"]:
    """Levels 0..255: the luma of three channels (what lies beyond is left out), the first of one or two."""
    return images[..., :3] @ LUMA if images.shape[-1] >= 3 else images[..., 0].astype(np.float32)


def noise(levels: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """The standard deviation of white noise by Immerkaer's mask, which smooth pictures do not answer to (Computer
    Vision and Image Understanding 64, 1996). Fine texture does, and counts as noise."""
    h, w = levels.shape[1:]
    twice = _second(_second(levels, 1), 2)  # the mask is the product of [1 -2 1] both ways
    return np.sqrt(np.pi / 2) / (6 * (w - 2) * (h - 2)) * np.abs(twice).sum((1, 2))


def sharpness(levels: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """The variance of the Laplacian (four neighbours), borders left out: low where all is blurred or flat."""
    return (_second(levels, 1)[:, :, 1:-1] + _second(levels, 2)[:, 1:-1]).var((1, 2))


def edge_width(levels: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """How far edges are blurred: the standard deviation of the normal density, in pixels; about 0.4 where they are
    as sharp as pixels allow, NaN where there are none.

    The squared Laplacian of a step blurred by s sums up to a multiple of s^-3, so what one more blur of 1 pixel leaves
    of it tells s. Noise has no width and makes it less.
    """
    before = sharpness(levels)
    left = sharpness(ndimage.gaussian_filter(levels, (0, 1, 1), mode="nearest")) / np.where(before > 0, before, np.nan)
    share = np.minimum(left, 0.99) ** (2 / 3)  # s^2 / (s^2 + 1)
    return np.sqrt(share / (1 - share))


def constant(images: UInt8[np.ndarray, "n h w c"]) -> Bool[np.ndarray, " n"]:
    """Whether all pixels of an image are equal."""
    return np.array([(image == image[0, 0]).all() for image in images], bool)  # one by one: without a copy of all


def colourless(images: UInt8[np.ndarray, "n h w c"]) -> Bool[np.ndarray, " n"]:
    """Whether all channels of an image are equal."""
    return np.array([(image == image[..., :1]).all() for image in images], bool)


def _second(values: Float[np.ndarray, "n h w"], axis: int) -> Float[np.ndarray, "n h2 w2"]:
    """Second differences."""
    return np.diff(values, 2, axis)
