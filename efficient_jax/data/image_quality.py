"""Measures of each image: brightness, contrast, noise and sharpness."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Bool, Float, UInt8

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
CHUNK_PIXELS = 2**19  # pixels per task of a thread: with more, half of the time goes into new memory


class Quality(NamedTuple):
    """Measures of n images."""

    brightness: Float[np.ndarray, " n"]  # mean of the gray levels, 0..1
    highlights: Float[np.ndarray, " n"]  # the level that 1% of the pixels exceed, 0..1
    contrast: Float[np.ndarray, " n"]  # standard deviation of the gray levels, 0..0.5
    noise: Float[np.ndarray, " n"]  # standard deviation, in levels of 255
    sharpness: Float[np.ndarray, " n"]  # variance of the Laplacian, in levels squared
    edge_width: Float[np.ndarray, " n"]  # standard deviation of the blur of edges, in pixels


def quality(images: UInt8[np.ndarray, "n h w c"]) -> Quality:
    """Returns all measures of each image, computed by as many threads as there are cores.

    Args:
        images: uint8 [n h w c].

    Returns: float [n] each; noise, sharpness and edge width are NaN where a side is shorter than 3 pixels.
    """
    size = max(1, CHUNK_PIXELS // (images.shape[1] * images.shape[2]))

    def part_quality(start: int) -> Quality:
        levels = grey(images[start : start + size])
        every_other = levels[:, ::2, ::2].reshape(len(levels), -1)
        basic = levels.mean((1, 2)) / 255, np.quantile(every_other, 0.99, axis=1) / 255, levels.std((1, 2)) / 255
        if min(levels.shape[1:]) < 3:
            return Quality(*basic, *[np.full(len(levels), np.nan, np.float32)] * 3)
        return Quality(*basic, noise(levels), sharpness(levels), edge_width(levels))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(part_quality, range(0, len(images), size)))
    return Quality(*map(np.concatenate, zip(*parts, strict=True)))


def grey(images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n h w"]:
    """Returns gray levels, float32 [n h w] in 0..255: the luma of three or more channels, else the first channel.

    Args:
        images: uint8 [n h w c]; channels after the third are ignored.
    """
    return images[..., :3] @ LUMA if images.shape[-1] >= 3 else images[..., 0].astype(np.float32)


def noise(levels: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """Returns the standard deviation of white noise, by Immerkaer's mask.

    The mask does not respond to smooth images (Computer Vision and Image Understanding 64, 1996). It does to fine
    texture, which counts as noise.

    Args:
        levels: gray levels [n h w] in 0..255, both sides of 3 pixels or more.

    Returns: float [n], in levels.
    """
    h, w = levels.shape[1:]
    twice = _second(_second(levels, 1), 2)  # the mask is the product of [1 -2 1] both ways
    deviation: np.ndarray = np.sqrt(np.pi / 2) / (6 * (w - 2) * (h - 2)) * np.abs(twice).sum((1, 2))
    return deviation


def sharpness(levels: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """Returns the variance of the Laplacian (four neighbours), without borders: low where an image is blurred or flat.

    Args:
        levels: gray levels [n h w] in 0..255, both sides of 3 pixels or more.

    Returns: float [n], in levels squared.
    """
    laplacian: np.ndarray = _second(levels, 1)[:, :, 1:-1] + _second(levels, 2)[:, 1:-1]
    variance: np.ndarray = laplacian.var((1, 2))
    return variance


def edge_width(levels: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """Returns the blur of edges, as the standard deviation of a Gaussian.

    The squared Laplacian of a step that is blurred by s sums up to a multiple of s^-3. So the share that remains after
    one more blur of 1 pixel determines s. Noise has no width and lowers it.

    Args:
        levels: gray levels [n h w] in 0..255, both sides of 3 pixels or more.

    Returns: float [n], in pixels: about 0.4 where edges are as sharp as pixels allow, NaN where there are none.
    """
    before = sharpness(levels)
    left = sharpness(scipy.ndimage.gaussian_filter(levels, (0, 1, 1), mode="nearest")) / np.where(
        before > 0, before, np.nan
    )
    share = np.minimum(left, 0.99) ** (2 / 3)  # s^2 / (s^2 + 1)
    return np.sqrt(share / (1 - share))


def constant(images: UInt8[np.ndarray, "n h w c"]) -> Bool[np.ndarray, " n"]:
    """Returns a mask bool [n] of images whose pixels are all equal.

    Args:
        images: uint8 [n h w c].
    """
    return np.array([(image == image[0, 0]).all() for image in images], bool)  # one by one, without a copy of all


def colourless(images: UInt8[np.ndarray, "n h w c"]) -> Bool[np.ndarray, " n"]:
    """Returns a mask bool [n] of images whose channels are all equal.

    Args:
        images: uint8 [n h w c].
    """
    return np.array([(image == image[..., :1]).all() for image in images], bool)


def _second(values: Float[np.ndarray, "n h w"], axis: int) -> Float[np.ndarray, "n h2 w2"]:
    """Returns the second differences along an axis."""
    return np.diff(values, 2, axis)
