"""AutoAugment (arXiv 1805.09501): policies that a search found on ImageNet, CIFAR-10 and SVHN."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from efficient_jax import settings
from efficient_jax.augment.kernels.dtypes import Fill
from efficient_jax.augment.policies import engine
from efficient_jax.types import Example

Step = tuple[str, float, int]  # operation, probability, magnitude 0..9
LEVELS = 10

IMAGENET: tuple[tuple[Step, Step], ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)
CIFAR10: tuple[tuple[Step, Step], ...] = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 0)),
)
SVHN: tuple[tuple[Step, Step], ...] = (
    (("shear_x", 0.9, 4), ("invert", 0.2, 0)),
    (("shear_y", 0.9, 8), ("invert", 0.7, 0)),
    (("equalize", 0.6, 0), ("solarize", 0.6, 6)),
    (("invert", 0.9, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.6, 0), ("rotate", 0.9, 3)),
    (("shear_x", 0.9, 4), ("autocontrast", 0.8, 0)),
    (("shear_y", 0.9, 8), ("invert", 0.4, 0)),
    (("shear_y", 0.9, 5), ("solarize", 0.2, 6)),
    (("invert", 0.9, 0), ("autocontrast", 0.8, 0)),
    (("equalize", 0.6, 0), ("rotate", 0.9, 3)),
    (("shear_x", 0.9, 4), ("solarize", 0.3, 3)),
    (("shear_y", 0.8, 8), ("invert", 0.7, 0)),
    (("equalize", 0.9, 0), ("translate_y", 0.6, 6)),
    (("invert", 0.9, 0), ("equalize", 0.6, 0)),
    (("contrast", 0.3, 3), ("rotate", 0.8, 4)),
    (("invert", 0.8, 0), ("translate_y", 0.0, 2)),
    (("shear_y", 0.7, 6), ("solarize", 0.4, 8)),
    (("invert", 0.6, 0), ("rotate", 0.8, 4)),
    (("shear_y", 0.3, 7), ("translate_x", 0.9, 3)),
    (("shear_x", 0.1, 6), ("invert", 0.6, 0)),
    (("solarize", 0.7, 2), ("translate_y", 0.6, 7)),
    (("shear_y", 0.8, 4), ("invert", 0.8, 0)),
    (("shear_x", 0.7, 9), ("translate_y", 0.8, 3)),
    (("shear_y", 0.8, 5), ("autocontrast", 0.7, 0)),
    (("shear_x", 0.7, 2), ("invert", 0.1, 0)),
)
POLICIES = {"imagenet": IMAGENET, "cifar10": CIFAR10, "svhn": SVHN}


def largest(size: tuple[int, ...]) -> engine.Ranges:
    """Returns the ranges of AutoAugment's operations on images of this size.

    Args:
        size: (height, width) in pixels.

    Returns: see `engine.Ranges`.
    """
    height, width = size
    return engine.ranges(
        rotate=30,
        shear=0.3,
        translate=(150 / 331 * width, 150 / 331 * height),
        factor=0.9,
        posterize=(8, 4),
        solarize=(255, 0),
    )


def autoaugment(key: PRNGKeyArray, example: Example, *, policy: str = "imagenet", fill: Fill = 0.0) -> Example:
    """Applies one of the policy's 25 pairs of operations, each of the two with its probability and magnitude.

    The policies are those of arXiv 1805.09501, ranges and tables torchvision's. Signs are drawn, and geometry is about
    the center. Float images are rounded to 256 levels.

    Args:
        key, example: see types.Example.
        policy: dataset on which the policy was searched: imagenet, cifar10 or svhn.
        fill: level outside the image, in 0..1, one level or one for each channel.

    Returns: the example with its image, masks, boxes and keypoints changed.

    Raises: UserError for an unknown policy, and for a fill outside 0..1.
    """
    pairs = settings.choose(policy, POLICIES, "autoaugment.policy")
    ops = tuple(sorted({name for pair in pairs for name, _, _ in pair}))
    indices = np.array([[ops.index(name) for name, _, _ in pair] for pair in pairs])
    probabilities = np.array([[probability for _, probability, _ in pair] for pair in pairs], np.float32)
    magnitudes = np.array([[magnitude for _, _, magnitude in pair] for pair in pairs])
    table = engine.amount_table(largest(example["image"].shape[:2]), ops, np.arange(LEVELS) / (LEVELS - 1))

    which, *draws = jax.random.uniform(key, (5,))
    chance, sign = jnp.stack(draws).reshape(2, 2)
    pair = (which * len(pairs)).astype(jnp.int32)
    amounts = jnp.asarray(table[:, indices, magnitudes])[(sign < 0.5).astype(jnp.int32), pair, jnp.arange(2)]
    drawn = jnp.where(chance < jnp.asarray(probabilities)[pair], jnp.asarray(indices, jnp.int32)[pair], len(ops))
    return engine.sequence(example, drawn, amounts, ops=ops, fill=fill)
