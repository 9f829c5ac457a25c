"""Losses per example, on labels, features, boxes and masks; the caller reduces."""

from efficient_jax.losses.boxes import generalized_iou, quality_focal, sigmoid_focal
from efficient_jax.losses.features import angle, attention, cosine, distance, fitnet, same_size, similarity
from efficient_jax.losses.labels import (
    class_weights,
    cross_entropy,
    generalized_cross_entropy,
    log_prior,
    sigmoid_cross_entropy,
)
from efficient_jax.losses.masks import dice
from efficient_jax.losses.self_supervised import nt_xent, sigreg
from efficient_jax.losses.teachers import distillation, ensemble, relation_distances, standardised

__all__ = [
    "angle",
    "attention",
    "class_weights",
    "cosine",
    "cross_entropy",
    "dice",
    "distance",
    "distillation",
    "ensemble",
    "fitnet",
    "generalized_cross_entropy",
    "generalized_iou",
    "log_prior",
    "nt_xent",
    "quality_focal",
    "relation_distances",
    "same_size",
    "sigmoid_cross_entropy",
    "sigmoid_focal",
    "sigreg",
    "similarity",
    "standardised",
]
