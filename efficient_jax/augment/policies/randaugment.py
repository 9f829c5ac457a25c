"""Augmentation policies without a search: one strength, or none, for a few operations drawn at random."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from efficient_jax import settings
from efficient_jax.augment import color, combinators, filters, jitter
from efficient_jax.augment.kernels import dtypes
from efficient_jax.augment.policies import engine
from efficient_jax.errors import UserError
from efficient_jax.types import Example

MAX_LEVEL = 10
OPS = (
    *("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
    *("autocontrast", "equalize", "brightness", "contrast", "posterize", "solarize", "color", "sharpness"),
)
"""The 14 operations of RandAugment and TrivialAugment."""

_NOISE_LEVELS = 256  # how finely a magnitude with noise is rounded
_BINS = 31


def largest(size: tuple[int, ...]) -> engine.Ranges:
    """Returns the ranges of RandAugment's operations on images of this size.

    Args:
        size: (height, width) in pixels.

    Returns: see `engine.Ranges`.
    """
    height, width = size
    return engine.ranges(
        rotate=30,
        shear=0.3,
        translate=(0.45 * width, 0.45 * height),
        factor=0.9,
        posterize=(8, 4),
        solarize=(256, 0),
    )


WIDE = engine.ranges(
    rotate=135, shear=0.99, translate=(32, 32), factor=0.99, posterize=(8, 2), solarize=(256, 0)
)  # TrivialAugmentWide's


def randaugment(
    key: PRNGKeyArray,
    example: Example,
    *,
    layers: int = 2,
    magnitude: float = 9.0,
    magnitude_std: float = 0.0,
    layer_probability: float = 1.0,
    ops: tuple[str, ...] = OPS,
    fill: dtypes.Fill = 0.0,
) -> Example:
    """Applies `layers` random operations at one magnitude, drawn for each image (arXiv 1909.13719).

    At magnitude 0 only autocontrast, equalize and invert change the image. The scale ends at 10 as in timm. Largest
    changes: rotate 30 degrees, shear 0.3, translate 0.45 of the side, factors 0.1 and 1.9 (brightness,
    contrast, color, sharpness), posterize to 4 bits, solarize everything, solarize_add 110. Their sign is drawn.
    Geometry is about the center. Float images are rounded to 256 levels. Where an image has one channel, `color`
    changes nothing.

    Args:
        key, example: see types.Example.
        layers: operations applied one after the other, 0 or more; 0 changes nothing.
        magnitude: strength of every operation, in 0..10 (of the paper's and torchvision's scale to 30 take a third).
        magnitude_std: standard deviation of normal noise on the magnitude, 0.0 or more; the sum is clipped to 0..10.
        layer_probability: probability that a layer does anything, in 0..1; timm's is 0.5.
        ops: operations that are drawn from, names of `engine.OPERATIONS`; a name that stands twice is twice as likely.
        fill: level outside the image, in 0..1, one level or one for each channel.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for settings outside their ranges, and for unknown or no operations.
    """
    if not 0 <= magnitude <= MAX_LEVEL:
        raise UserError(f"randaugment: magnitude {magnitude} is not in 0..{MAX_LEVEL}; of a scale to 30, take a third")
    if layers < 0 or magnitude_std < 0:
        raise UserError("randaugment: layers and magnitude_std are not negative")
    if not 0 <= layer_probability <= 1:
        raise UserError(f"randaugment: layer_probability {layer_probability} is not in 0..1")
    if not ops:
        raise UserError("randaugment: ops is empty; layers = 0 switches it off")
    for name in settings.several_names(ops, "randaugment.ops"):
        settings.choose(name, engine.OPERATIONS, "randaugment.ops")
    if layers == 0:
        return example
    which, sign, *skipped = jax.random.uniform(key, (3 if layer_probability < 1 else 2, layers))
    drawn = (which * len(ops)).astype(jnp.int32)
    levels, level = np.array([magnitude / MAX_LEVEL]), jnp.zeros(layers, jnp.int32)
    if magnitude_std:
        noise = magnitude_std * jax.random.normal(jax.random.fold_in(key, 1), (layers,))
        levels = np.arange(_NOISE_LEVELS + 1) / _NOISE_LEVELS
        level = jnp.round(jnp.clip((magnitude + noise) / MAX_LEVEL, 0, 1) * _NOISE_LEVELS).astype(jnp.int32)
    table = engine.amount_table(largest(example["image"].shape[:2]), ops, levels)
    amounts = jnp.asarray(table)[(sign < 0.5).astype(jnp.int32), drawn, level]
    if skipped:
        drawn = jnp.where(skipped[0] < layer_probability, drawn, len(ops))
    return engine.sequence(example, drawn, amounts, ops=ops, fill=fill)


def trivialaugment(key: PRNGKeyArray, example: Example, *, fill: dtypes.Fill = 0.0) -> Example:
    """Applies one operation of OPS at one of 31 magnitudes, both uniform: TrivialAugmentWide (arXiv 2103.10158).

    There is nothing to tune. The ranges are wide: rotate 135 degrees, shear 0.99, translate 32 pixels (of images of any
    size), factors 0.01 and 1.99, posterize to 2 bits, solarize everything. Otherwise as `randaugment`.

    Args:
        key, example: see types.Example.
        fill: level outside the image, in 0..1, one level or one for each channel.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for a fill outside 0..1.
    """
    which, bin_, sign = jax.random.uniform(key, (3, 1))
    drawn = (which * len(OPS)).astype(jnp.int32)
    table = engine.amount_table(WIDE, OPS, np.arange(_BINS) / (_BINS - 1))
    amounts = jnp.asarray(table)[(sign < 0.5).astype(jnp.int32), drawn, (bin_ * _BINS).astype(jnp.int32)]
    return engine.sequence(example, drawn, amounts, ops=OPS, fill=fill)


_THREE = combinators.one_of(
    (
        color.grayscale,
        partial(color.solarize, threshold=128),
        partial(filters.gaussian_blur, kernel=13, sigma_min=0.1, sigma_max=2.0),
    )
)


def three_augment(key: PRNGKeyArray, example: Example) -> Example:
    """Applies 3-Augment of DeiT III (arXiv 2204.07118): grayscale, solarize or blur, then color jitter.

    The three are equally likely. solarize inverts levels from 128 on, the blur's sigma is uniform in 0.1..2.0 pixels,
    and the jitter changes brightness, contrast and saturation by 0.3. The recipe's crop and flip are operations of
    their own.

    Args:
        key, example: see types.Example.

    Returns: the example with its image changed.
    """
    chosen, jittered = jax.random.split(key)
    example = _THREE(chosen, example)
    return jitter.color_jitter(jittered, example, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.0)
