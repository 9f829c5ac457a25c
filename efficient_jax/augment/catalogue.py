"""The names that configs use, and the functions they stand for."""

from collections.abc import Callable

from efficient_jax.augment.choose import one_of, some_of
from efficient_jax.augment.color import brightness, contrast
from efficient_jax.augment.distort import elastic, grid_distortion
from efficient_jax.augment.erase import cutout
from efficient_jax.augment.frame import (
    center_crop,
    crop,
    flip,
    flip_vertical,
    pad,
    random_resized_crop,
    resize,
    rot90,
)
from efficient_jax.augment.geometry import affine, perspective, rotate, scale, shear, translate
from efficient_jax.augment.mix import cutmix, mixup
from efficient_jax.augment.policy import randaugment
from efficient_jax.augment.targets import filter_boxes
from efficient_jax.types import Augmentation, Batch, Example

OPS: dict[str, Callable[..., Example]] = {
    "flip": flip,
    "flip_vertical": flip_vertical,
    "rot90": rot90,
    "rotate": rotate,
    "shear": shear,
    "translate": translate,
    "scale": scale,
    "affine": affine,
    "perspective": perspective,
    "elastic": elastic,
    "grid_distortion": grid_distortion,
    "crop": crop,
    "center_crop": center_crop,
    "pad": pad,
    "resize": resize,
    "random_resized_crop": random_resized_crop,
    "brightness": brightness,
    "contrast": contrast,
    "cutout": cutout,
    "randaugment": randaugment,
    "filter_boxes": filter_boxes,
}
MIXES: dict[str, Callable[..., Batch]] = {"cutmix": cutmix, "mixup": mixup}
CHOICES: dict[str, Callable[..., Augmentation]] = {"one_of": one_of, "some_of": some_of}
