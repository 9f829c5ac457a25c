"""The names that configs use, and the functions they stand for."""

from collections.abc import Callable

from efficient_jax.augment.collage import copy_paste, mosaic
from efficient_jax.augment.color import (
    autocontrast,
    brightness_add,
    channel_drop,
    channel_shuffle,
    equalize,
    grayscale,
    invert,
    posterize,
    solarize,
    solarize_add,
)
from efficient_jax.augment.combinators import by_class, one_of, sequence, some_of
from efficient_jax.augment.compression import jpeg
from efficient_jax.augment.documents.ink import blot, dithering, fading, ink_bleed
from efficient_jax.augment.documents.paper import folding_shadow, lighting_gradient, paper_tint, texture
from efficient_jax.augment.documents.scan import document, document_scan
from efficient_jax.augment.entries import checked, checked_mix
from efficient_jax.augment.erasing import cutout, gridmask, random_erasing
from efficient_jax.augment.filters import gaussian_blur, motion_blur, sharpness
from efficient_jax.augment.geometry.affine import (
    affine,
    affine_from_points,
    perspective,
    rotate,
    scale,
    shear,
    translate,
)
from efficient_jax.augment.geometry.crop_flip import center_crop, crop, flip, flip_vertical, pad, rot90
from efficient_jax.augment.geometry.elastic import elastic, grid_distortion
from efficient_jax.augment.geometry.resize import random_resized_crop, resize
from efficient_jax.augment.jitter import brightness, color_jitter, contrast, gamma, hue, saturation
from efficient_jax.augment.kernels.targets import filter_boxes
from efficient_jax.augment.mixing import cutmix, mixup, mixup_or_cutmix, saliency_cutmix
from efficient_jax.augment.noise import gaussian_noise, salt_and_pepper, shot_noise
from efficient_jax.augment.policies.augmix import augmix
from efficient_jax.augment.policies.autoaugment import autoaugment
from efficient_jax.augment.policies.randaugment import randaugment, three_augment, trivialaugment
from efficient_jax.types import Augmentation, Batch, Example

PIXEL: dict[str, Callable[..., Example]] = {
    "brightness": brightness,
    "brightness_add": brightness_add,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
    "gamma": gamma,
    "color_jitter": color_jitter,
    "posterize": posterize,
    "solarize": solarize,
    "solarize_add": solarize_add,
    "equalize": equalize,
    "autocontrast": autocontrast,
    "invert": invert,
    "grayscale": grayscale,
    "channel_shuffle": channel_shuffle,
    "channel_drop": channel_drop,
    "sharpness": sharpness,
    "gaussian_blur": gaussian_blur,
    "motion_blur": motion_blur,
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "salt_and_pepper": salt_and_pepper,
    "jpeg": jpeg,
}
SPATIAL: dict[str, Callable[..., Example]] = {
    "flip": flip,
    "flip_vertical": flip_vertical,
    "rot90": rot90,
    "rotate": rotate,
    "shear": shear,
    "translate": translate,
    "scale": scale,
    "affine": affine,
    "affine_from_points": affine_from_points,
    "perspective": perspective,
    "elastic": elastic,
    "grid_distortion": grid_distortion,
    "crop": crop,
    "center_crop": center_crop,
    "pad": pad,
    "resize": resize,
    "random_resized_crop": random_resized_crop,
    "filter_boxes": filter_boxes,
}
ERASING: dict[str, Callable[..., Example]] = {
    "cutout": cutout,
    "random_erasing": random_erasing,
    "gridmask": gridmask,
}
POLICIES: dict[str, Callable[..., Example]] = {
    "randaugment": randaugment,
    "autoaugment": autoaugment,
    "trivialaugment": trivialaugment,
    "augmix": augmix,
    "three_augment": three_augment,
}
DOCUMENTS: dict[str, Callable[..., Example]] = {
    "ink_bleed": ink_bleed,
    "fading": fading,
    "dithering": dithering,
    "blot": blot,
    "paper_tint": paper_tint,
    "texture": texture,
    "folding_shadow": folding_shadow,
    "lighting_gradient": lighting_gradient,
    "document_scan": document_scan,
}
OPS = {name: checked(op) for name, op in (PIXEL | SPATIAL | ERASING | POLICIES | DOCUMENTS).items()}
MIXING: dict[str, Callable[..., Batch]] = {
    "mixup": mixup,
    "cutmix": cutmix,
    "mixup_or_cutmix": mixup_or_cutmix,
    "saliency_cutmix": saliency_cutmix,
    "mosaic": mosaic,
    "copy_paste": copy_paste,
}
MIXES = {name: checked_mix(mix) for name, mix in MIXING.items()}
CHOICES: dict[str, Callable[..., Augmentation]] = {
    "one_of": one_of,
    "some_of": some_of,
    "sequence": sequence,
    "by_class": by_class,
}
PHASED: dict[str, Callable[..., Example]] = {"document": checked(document)}
