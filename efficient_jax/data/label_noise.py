"""Wrong labels on purpose: an experiment in which it is known which labels of the training images are wrong."""

from typing import Any

import numpy as np
from jaxtyping import Int

from efficient_jax.errors import UserError


def settings(*, share: float = 0.0, seed: int = 0) -> dict[str, Any]:
    """Returns the checked block `config.data.label_noise`, the keyword arguments of `flipped`.

    Args:
        share: share of the labelled images whose label is replaced by another class, 0.0 to 1.0 (1.0 excluded);
            0.0: none.
        seed: seed of which images and which classes these are, 0 or more.

    Raises: UserError for a value out of range.
    """
    if not 0.0 <= share < 1.0:
        raise UserError(f"config.data.label_noise.share: {share} is not in 0.0 .. 1.0 (1.0 excluded)")
    if seed < 0:
        raise UserError(f"config.data.label_noise.seed: {seed} is negative")
    return {"share": share, "seed": seed}


def flipped(
    labels: Int[np.ndarray, " n"], rows: Int[np.ndarray, " m"], classes: int, share: float, seed: int
) -> Int[np.ndarray, " n"]:
    """Returns labels with a share of some rows replaced by another class, each other class with equal probability.

    Args:
        labels: class index of each image.
        rows: indices of the images that may be changed.
        classes: number of classes, 2 or more.
        share: of `rows`; the number of changed labels is `share` times their number, rounded.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    changed = rng.choice(rows, round(share * len(rows)), replace=False)
    result = labels.copy()
    result[changed] = (labels[changed] + rng.integers(1, classes, len(changed))) % classes
    return result
