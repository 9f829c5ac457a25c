"""Augmentation on the device: pure functions `(key, example) -> example`, and mixes of a whole batch.

`registry` has every name that a config may use, and the package exports each operation by that name. A module is
named after what it holds and never like an operation, which would hide it: the operation `jpeg` is in `compression`,
`mosaic` in `collage`. `geometry/` and `policies/` export nothing, so their modules may be called like operations.

- `pipelines`: the pipeline of a config's block. `combinators`: one of several augmentations, some, all, or by class.
- `once`: programs for a few images. `entries`: the check of an example. `ranges`: strengths as numbers or pairs.
- `color`, `filters`, `noise`, `compression` change pixels, `geometry/` shapes.
- `erasing` hides parts; `mixing` and `collage` join images.
- `policies/`: RandAugment and its relatives. `documents/`: printed pages.
- `kernels/`: what the operations are made of.
"""

from efficient_jax.augment.combinators import with_probability
from efficient_jax.augment.kernels.dtypes import to_float
from efficient_jax.augment.pipelines import augmented, build, operations, per_example, pipeline
from efficient_jax.augment.registry import *  # noqa: F403
from efficient_jax.augment.registry import CHOICES, MIXES, OPS, PHASED

globals().update(OPS | MIXES | PHASED)  # what is called by its name is checked as what a config names

__all__ = [
    "CHOICES",
    "MIXES",
    "OPS",
    "augmented",
    "build",
    "operations",
    "per_example",
    "pipeline",
    "to_float",
    "with_probability",
    *OPS,
    *MIXES,
    *CHOICES,
    *PHASED,
]
