"""Augmentation on the device: pure functions `(key, example) -> example`, and mixes of a whole batch."""

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
