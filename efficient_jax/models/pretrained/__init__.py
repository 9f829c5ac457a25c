"""Weights that others trained, read without their frameworks and without running anything from their files."""

from efficient_jax.models.pretrained.preprocessing import Preprocessing, preprocessing
from efficient_jax.models.pretrained.weights import PACKAGED, Report, load, read

__all__ = ["PACKAGED", "Preprocessing", "Report", "load", "preprocessing", "read"]
