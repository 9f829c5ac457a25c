"""JPEG compression of an image without a file: everything but the entropy coder, which is lossless.

It follows libjpeg (ITU-T T.81, T.871): YCbCr, chroma of half the resolution, discrete cosine transforms of 8x8 blocks,
coefficients rounded to multiples of a table's entries. All sums are of integers, so that no pixel depends on how the
arithmetic was compiled. libjpeg rounds between the passes of its transform; we do not.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, PRNGKeyArray, UInt8

from efficient_jax.augment.kernels import dtypes, packed
from efficient_jax.errors import UserError
from efficient_jax.types import Example

Plane = Int32[Array, "h w"]

# ITU-T T.81, tables K.1 and K.2: the steps of quality 50.
_LUMINANCE = """
16 11 10 16  24  40  51  61
12 12 14 19  26  58  60  55
14 13 16 24  40  57  69  56
14 17 22 29  51  87  80  62
18 22 37 56  68 109 103  77
24 35 55 64  81 104 113  92
49 64 78 87 103 121 120 101
72 92 95 98 112 100 103  99
"""
_CHROMINANCE = """
17 18 24 47 99 99 99 99
18 21 26 66 99 99 99 99
24 26 56 99 99 99 99 99
47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99
"""
_STEPS = np.array([_LUMINANCE.split(), _CHROMINANCE.split()], np.int32)

_FREQUENCY = np.arange(8)[:, None]
_COSINES = np.cos(_FREQUENCY * (2 * np.arange(8) + 1) * np.pi / 16) * np.where(_FREQUENCY, 1 / 2, np.sqrt(1 / 8))
_BASIS = np.kron(_COSINES, _COSINES)  # [coefficient, pixel], orthonormal
# Rounded to so many bits, each sum of a transform is an integer below 2**24: exact in float32, in whichever order.
_FORWARD_BITS, _INVERSE_BITS = 13, 12
_FORWARD = np.round(_BASIS.T * 2**_FORWARD_BITS).astype(np.float32)
_INVERSE = np.round(_BASIS * 2**_INVERSE_BITS).astype(np.float32)


def jpeg(key: PRNGKeyArray, example: Example, *, quality_min: int = 30, quality_max: int = 95) -> Example:
    """Compresses the image as JPEG and decodes it, at a random quality.

    Images have 1 channel, or 3 with chroma of half the resolution. The result is on average within a level of Pillow's
    at the same quality. Float images are rounded to 256 levels.

    Args:
        key, example: see types.Example.
        quality_min: lowest quality, in 1..100; the quality is a whole number uniform in quality_min..quality_max.
        quality_max: highest quality, in quality_min..100.

    Returns: the example with its image changed.

    Raises: UserError for qualities that are not in order in 1..100, and for another number of channels.
    """
    if not 1 <= quality_min <= quality_max <= 100:
        raise UserError(f"jpeg: 1 <= quality_min <= quality_max <= 100 does not hold for {quality_min}, {quality_max}")
    image = example["image"]
    drawn = (jax.random.uniform(key) * (quality_max - quality_min + 1)).astype(jnp.int32)
    out = compressed(dtypes.to_uint8(image), quality_min + drawn)
    return example | {"image": out if image.dtype == jnp.uint8 else dtypes.to_float(out).astype(image.dtype)}


def compressed(image: UInt8[Array, "h w c"], quality: Int32[Array, ""]) -> UInt8[Array, "h w c"]:
    """Returns the image that a JPEG file of this quality holds.

    Args:
        image: uint8 [h w c] of 1 or 3 channels.
        quality: int32 scalar in 1..100.

    Returns: uint8 [h w c].

    Raises: UserError for another number of channels.
    """
    height, width, channels = image.shape
    if channels == 1:
        plane = _to_multiple(image[..., 0].astype(jnp.int32), 8, 8)
        return _quantized(plane, len(plane), quality)[:height, :width, None].astype(jnp.uint8)
    if channels != 3:
        raise UserError(f"jpeg takes 1 or 3 channels, this image has {channels}")
    red, green, blue = (_to_multiple(image[..., i].astype(jnp.int32), 2, 16) for i in range(3))
    luma = (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16
    center = (128 << 16) + (1 << 15) - 1
    chroma_blue = (-11059 * red - 21709 * green + 32768 * blue + center) >> 16
    chroma_red = (32768 * red - 27439 * green - 5329 * blue + center) >> 16
    both = _halved(chroma_blue | chroma_red << 16)

    # One image with both chroma planes side by side under the luma, so that one product transforms all blocks.
    below = _to_multiple(jnp.concatenate([both & 255, both >> 16], axis=1), 8, 1)
    luma = _to_multiple(luma, 8, 1)
    planes = _quantized(jnp.concatenate([luma, below]), len(luma), quality)

    half_height, half_width = -(-height // 2), -(-width // 2)
    below = planes[len(luma) : len(luma) + half_height]
    right = luma.shape[1] // 2
    both = doubled(below[:, :half_width] | below[:, right : right + half_width] << 16)[:height, :width]
    luma = planes[:height, :width]
    chroma_blue, chroma_red = (both & 255) - 128, (both >> 16) - 128
    red = luma + ((91881 * chroma_red + (1 << 15)) >> 16)
    green = luma + ((-22554 * chroma_blue - 46802 * chroma_red + (1 << 15)) >> 16)
    blue = luma + ((116130 * chroma_blue + (1 << 15)) >> 16)
    return packed.unpack(packed.pack_planes([jnp.clip(plane, 0, 255) for plane in (red, green, blue)]), 3)


def quantization(quality: Int32[Array, ""]) -> Int32[Array, "2 64"]:
    """Returns the quantization steps of luma [0] and chroma [1] coefficients (ITU-T T.81, tables K.1 and K.2).

    Args:
        quality: int32 scalar in 1..100; 50 gives the tables themselves.

    Returns: int32 [2 64] in 1..255, row by row of the 8x8 block.
    """
    percent = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return jnp.clip((_STEPS * percent + 50) // 100, 1, 255)


def _quantized(plane: Plane, luma_rows: int, quality: Int32[Array, ""]) -> Plane:
    """Rounds the coefficients of every 8x8 block; the rows from `luma_rows` on are chroma."""
    height, width = plane.shape
    blocks = (plane - 128).astype(jnp.float32).reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2).reshape(-1, 64)
    is_luma = (np.arange(len(blocks)) < luma_rows * width // 64)[:, None]
    steps = quantization(quality).astype(jnp.float32)
    # A little too large, so that halves are rounded away from zero, as libjpeg does: coefficients have many of them.
    reciprocals = (1 + 2.0**-20) / (steps * 2**_FORWARD_BITS)
    step, factor = (jnp.where(is_luma, table[0], table[1]) for table in (steps, reciprocals))
    coefficients = jnp.round(jnp.matmul(blocks, _FORWARD, precision="highest") * factor) * step
    pixels = jnp.floor(jnp.matmul(coefficients, _INVERSE, precision="highest") / 2**_INVERSE_BITS + 128.5)
    pixels = jnp.clip(pixels, 0, 255).astype(jnp.int32)
    return pixels.reshape(height // 8, width // 8, 8, 8).swapaxes(1, 2).reshape(height, width)


def _to_multiple(plane: Plane, rows: int, columns: int) -> Int32[Array, "h2 w2"]:
    height, width = plane.shape
    return jnp.pad(plane, ((0, -height % rows), (0, -width % columns)), mode="edge")


# Both chroma planes at once, one in the low and one in the high 16 bits of each integer.


def _halved(both: Plane) -> Int32[Array, "h//2 w//2"]:
    """Returns the mean of 2x2 pixels, rounded up and down in turn."""
    height, width = both.shape
    pairs = both.reshape(height // 2, 2 * width)
    pairs = (pairs[:, :width] + pairs[:, width:]).reshape(height // 2, width // 2, 2)
    rounding = (1 + np.arange(width // 2, dtype=np.int32) % 2) * 0x10001
    return (pairs[..., 0] + pairs[..., 1] + rounding) >> 2 & 0xFF00FF


def doubled(both: Plane) -> Int32[Array, "2*h 2*w"]:
    """Upsamples as libjpeg's "fancy" upsampling: weights 9, 3, 3 and 1 for the four nearest pixels.

    libjpeg repeats pixels instead where an image is less than five wide.

    Args:
        both: two planes of levels in 0..255 in one, int32 [h w]: the second in the upper 16 bits.

    Returns: int32 [2h 2w], the two planes likewise.
    """
    height, width = both.shape
    around = jnp.pad(both, ((1, 1), (0, 0)), mode="edge")
    tall = jnp.stack([3 * both + around[:-2], 3 * both + around[2:]], axis=1).reshape(2 * height, width)
    around = jnp.pad(tall, ((0, 0), (1, 1)), mode="edge")
    wide = [3 * tall + around[:, :-2] + 0x80008, 3 * tall + around[:, 2:] + 0x70007]
    return (jnp.stack(wide, axis=2).reshape(2 * height, 2 * width) >> 4) & 0xFF00FF
