"""Published weights, read without their frameworks and without running code from their files."""

from efficient_jax.models.pretrained.preprocessing import (
    FAMILIES,
    Preprocessing,
    imagenet_classes,
    implied,
    preprocessing_of,
)
from efficient_jax.models.pretrained.weights import PACKAGED, Report, load, read, resampled, state_of

__all__ = [
    "FAMILIES",
    "PACKAGED",
    "Preprocessing",
    "Report",
    "imagenet_classes",
    "implied",
    "load",
    "preprocessing_of",
    "read",
    "resampled",
    "state_of",
]
