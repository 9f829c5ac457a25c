"""Operations that add noise to each pixel independently.

uint8 noise is looked up in tables by random integers, so that no pixel depends on how the arithmetic was compiled.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, PRNGKeyArray, UInt8, UInt32

from efficient_jax.augment.kernels import dtypes
from efficient_jax.errors import UserError
from efficient_jax.types import Example

_NORMAL_BITS = 16  # of each value's random bits; the largest deviation is 4.3 standard deviations
_POISSON_BITS = 10
_ONE = 1 << 12  # a standard deviation in the table of the normal distribution


def gaussian_noise(key: PRNGKeyArray, example: Example, *, std: float = 0.1) -> Example:
    """Adds normal noise to every value, its standard deviation uniform in [0, std] for each image, and clips.

    Args:
        key, example: see types.Example.
        std: largest standard deviation, for levels in 0..1, in 0..1.

    Returns: the example with its image changed.

    Raises: UserError for a `std` outside 0..1.
    """
    if not 0 <= std <= 1:
        raise UserError(f"gaussian_noise: std {std} is not in 0..1, where 1 is white")
    image = example["image"]
    strength, seed = _draw(key)
    counter = jnp.arange(image.size, dtype=jnp.uint32).reshape(image.shape[0], -1)
    quantile = (hashed(counter, seed) >> (32 - _NORMAL_BITS)).astype(jnp.int32)
    deviation = jnp.asarray(_normal_quantiles()).at[quantile].get(mode="promise_in_bounds").reshape(image.shape)
    if image.dtype == jnp.uint8:
        scale = (strength * (255 * 256 * std)).astype(jnp.int32)  # in 256ths of a level
        change = (deviation.astype(jnp.int32) * scale + (1 << 19)) >> 20
        return example | {"image": jnp.clip(image.astype(jnp.int32) + change, 0, 255).astype(jnp.uint8)}
    change = (strength * (std / _ONE)).astype(image.dtype) * deviation.astype(image.dtype)
    return example | {"image": jnp.clip(image + change, 0, 1)}


def shot_noise(key: PRNGKeyArray, example: Example, *, photons: float = 60.0) -> Example:
    """Counts photons: each value is Poisson with a mean of `level * photons` counts, scaled back and clipped.

    The variance of a level in 0..1 is level / photons. The severities 1 to 5 of imagecorruptions (arXiv 1903.12261) are
    60, 25, 12, 5 and 3 photons. Each level has a table of 1024 equally probable results, exact to 1/2048 in
    distribution. Float images are rounded to 256 levels.

    Args:
        key, example: see types.Example.
        photons: mean count at full white, above 0.0; fewer give more noise.

    Returns: the example with its image changed.

    Raises: UserError for a number of photons that is not positive and finite.
    """
    if not 0 < photons < math.inf:
        raise UserError(f"shot_noise: photons {photons} is not positive; 60 counts at full white are weak noise")
    image = example["image"]
    levels = dtypes.to_uint8(image)
    counter = jnp.arange(image.size, dtype=jnp.uint32).reshape(image.shape[0], -1)
    quantile = (hashed(counter, _draw(key)[1]) >> (32 - _POISSON_BITS)).astype(jnp.int32)
    entry = levels.reshape(counter.shape).astype(jnp.int32) << _POISSON_BITS | quantile
    table = jnp.asarray(_poisson_quantiles(photons).reshape(-1))
    out = table.at[entry].get(mode="promise_in_bounds").reshape(image.shape)
    return example | {"image": out if image.dtype == jnp.uint8 else dtypes.to_float(out).astype(image.dtype)}


def salt_and_pepper(key: PRNGKeyArray, example: Example, *, amount: float = 0.1) -> Example:
    """Makes a share of the pixels, uniform in [0, amount] for each image, white or black, half of them each.

    Args:
        key, example: see types.Example.
        amount: largest share of the pixels that change, in 0..1.

    Returns: the example with its image changed.

    Raises: UserError for an amount outside 0..1.
    """
    if not 0 <= amount <= 1:
        raise UserError(f"salt_and_pepper: amount {amount} is not a share of the pixels in 0..1")
    image = example["image"]
    height, width, channels = image.shape
    share, seed = _draw(key)
    # The channels of a pixel have one number: they hash alike.
    pixel = np.arange(height)[:, None] * width + np.arange(width * channels) // channels
    bits = hashed(jnp.asarray(pixel, jnp.uint32), seed).reshape(image.shape)
    grain = jnp.where((bits & 1) == 1, jnp.asarray(255 if image.dtype == jnp.uint8 else 1, image.dtype), 0)
    return example | {"image": jnp.where(bits < (share * (amount * 2.0**32)).astype(jnp.uint32), grain, image)}


def _draw(key: PRNGKeyArray) -> tuple[Float[Array, ""], UInt32[Array, " 2"]]:
    """Draws a number uniform in [0, 1), and a seed for `hashed`."""
    words = jax.random.bits(key, (3,))
    return (words[0] >> 8).astype(jnp.float32) / 2**24, words[1:]


def hashed(counter: UInt32[Array, " ..."], seed: UInt32[Array, " 2"]) -> UInt32[Array, " ..."]:
    """Returns random bits for each counter: the finalizer of MurmurHash3, mixed with the seed before and within.

    jax.random.bits draws twenty rounds of threefry for each value, and was the cost of these operations forty times
    over on CPU. Pixel noise does not need that strength.

    Args:
        counter: uint32 of any shape; equal counters get equal bits.
        seed: two uint32 words.

    Returns: 32 random bits for each counter, in its shape.
    """
    x: Array = counter * jnp.uint32(0x9E3779B9) + seed[0]
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B) + seed[1]
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _normal_quantiles() -> np.ndarray:
    middle = (np.arange(2**_NORMAL_BITS) + 0.5) / 2**_NORMAL_BITS
    quantiles: np.ndarray = np.round(_ONE * scipy.special.ndtri(middle)).astype(np.int16)
    return quantiles


def _poisson_quantiles(photons: float) -> UInt8[np.ndarray, "256 n"]:
    """Returns the equally probable results of each level, in levels."""
    level = np.arange(256)
    most = np.ceil((level[:-1] + 0.5) * photons / 255) - 1  # the largest count that is rounded to this level
    below = scipy.special.pdtr(most, level[:, None] * photons / 255)
    middle = (np.arange(2**_POISSON_BITS) + 0.5) / 2**_POISSON_BITS
    return np.stack([np.searchsorted(row, middle) for row in below]).astype(np.uint8)
