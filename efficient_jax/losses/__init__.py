"""Losses per example, on labels and on features; the caller reduces."""

from efficient_jax.losses.features import angle, attention, distance, fitnet, same_size, similarity
from efficient_jax.losses.labels import class_weights, cross_entropy, distillation, ensemble, sigmoid_cross_entropy

__all__ = [
    "angle",
    "attention",
    "class_weights",
    "cross_entropy",
    "distance",
    "distillation",
    "ensemble",
    "fitnet",
    "same_size",
    "sigmoid_cross_entropy",
    "similarity",
]
