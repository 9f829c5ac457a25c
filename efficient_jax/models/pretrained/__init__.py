"""Published weights, read without their frameworks and without running code from their files."""

from efficient_jax.models.pretrained.architecture import model_of
from efficient_jax.models.pretrained.files import PACKAGED, is_weights, packaged, read
from efficient_jax.models.pretrained.preprocessing import (
    FAMILIES,
    classes_of,
    entry_of,
    imagenet_classes,
    implied,
    preprocessing_of,
)
from efficient_jax.models.pretrained.weights import Report, load, resampled, timm_name, torch_state
from efficient_jax.models.pretrained.zoo import ZOO, Entry, Preprocessing

__all__ = [
    "FAMILIES",
    "PACKAGED",
    "ZOO",
    "Entry",
    "Preprocessing",
    "Report",
    "classes_of",
    "entry_of",
    "imagenet_classes",
    "implied",
    "is_weights",
    "load",
    "model_of",
    "packaged",
    "preprocessing_of",
    "read",
    "resampled",
    "timm_name",
    "torch_state",
]
