"""Weak to strong settings of each operation, for previews, for the catalogue and for measuring class bias.

An operation that is not in the table is shown with its defaults.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from efficient_jax.settings import Settings

NO_SETTINGS: Mapping[str, Any] = {}


class Strengths(NamedTuple):
    """The values of an operation's settings from weak to strong."""

    kind: str  # one of `KINDS`
    settings: tuple[str, ...] = ()  # names of the settings that vary; all take the same value
    values: tuple[Any, ...] = ()  # weak to strong
    others: Mapping[str, Any] = NO_SETTINGS  # settings that stay fixed

    def steps(self) -> dict[str, Settings]:
        """Returns name of the strength -> keyword arguments of the operation, weak to strong."""
        name = ", ".join(self.settings)
        if not self.values:
            return {"default": dict(self.others)}
        return {f"{name} {value}": {**dict.fromkeys(self.settings, value), **self.others} for value in self.values}

    def ends(self, operation: Callable[..., Any]) -> dict[str, Settings]:
        """Returns "default" and "strongest" -> keyword arguments of the operation; one form where they are the same.

        Where an operation has no default or changes nothing by default, the middle strength stands for it.

        Args:
            operation: the operation that has the settings.
        """
        parameters = inspect.signature(operation).parameters
        defaults = {name: parameters[name].default for name in self.settings}
        *_, strongest = steps = list(self.steps().values())
        chosen = all(value is not inspect.Parameter.empty and value for value in defaults.values())
        default = dict(self.others) | defaults if chosen else steps[len(steps) // 2]
        return {"default": default} | ({} if default == strongest else {"strongest": strongest})


GEOMETRY, COLOR, FILTERS, ERASING = "geometry", "color", "filters and noise", "erasing"
MIXING, POLICIES, DOCUMENTS, CHOOSING, OTHERS = "mixing", "policies", "documents", "choosing", "others"
KINDS = (GEOMETRY, COLOR, FILTERS, ERASING, MIXING, POLICIES, DOCUMENTS, CHOOSING, OTHERS)
MEASURED = (GEOMETRY, COLOR, ERASING)  # kinds that may change or hide what the label depends on

STRENGTHS = {
    "flip": Strengths(GEOMETRY, ("probability",), (1.0,)),
    "flip_vertical": Strengths(GEOMETRY, ("probability",), (1.0,)),
    "rot90": Strengths(GEOMETRY),
    "rotate": Strengths(GEOMETRY, ("degrees",), (15.0, 45.0, 135.0)),
    "shear": Strengths(GEOMETRY, ("x", "y"), (0.1, 0.3, 0.6)),
    "translate": Strengths(GEOMETRY, ("x", "y"), (0.1, 0.2, 0.4)),
    "scale": Strengths(GEOMETRY, ("scale",), (0.1, 0.3, 1.0)),
    "affine": Strengths(GEOMETRY, ("rotate",), (10.0, 30.0, 90.0), {"shear": 0.2, "translate": 0.1, "scale": 0.2}),
    "affine_from_points": Strengths(
        GEOMETRY,
        ("new",),
        (((0.0, 0.0), (1.0, 0.1), (0.1, 1.0)), ((0.0, 0.0), (1.0, 0.2), (0.3, 1.0))),
        {"old": ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))},
    ),
    "perspective": Strengths(GEOMETRY, ("distortion",), (0.2, 0.4, 0.6)),
    "elastic": Strengths(GEOMETRY, ("alpha",), (20.0, 50.0, 100.0)),
    "grid_distortion": Strengths(GEOMETRY, ("limit",), (0.2, 0.4, 0.8)),
    "crop": Strengths(GEOMETRY, ("padding",), (2, 4, 8)),
    "center_crop": Strengths(GEOMETRY, ("size",), ((60, 60),)),
    "pad": Strengths(GEOMETRY, ("pixels",), (2, 4, 8)),
    "resize": Strengths(GEOMETRY, ("size",), ((48, 60), (24, 30), (12, 15))),
    "random_resized_crop": Strengths(GEOMETRY, ("area_min",), (0.7, 0.35, 0.08)),
    "brightness": Strengths(COLOR, ("strength",), (0.2, 0.5, 0.9)),
    "brightness_add": Strengths(COLOR, ("amount",), (0.1, 0.25, 0.5)),
    "contrast": Strengths(COLOR, ("strength",), (0.2, 0.5, 0.9)),
    "saturation": Strengths(COLOR, ("strength",), (0.2, 0.5, 0.9)),
    "hue": Strengths(COLOR, ("strength",), (0.05, 0.15, 0.5)),
    "gamma": Strengths(COLOR, ("strength",), (0.2, 0.5, 1.5)),
    "color_jitter": Strengths(COLOR, ("brightness", "contrast", "saturation"), (0.2, 0.4, 0.8), {"hue": 0.1}),
    "posterize": Strengths(COLOR, ("bits",), (6, 4, 2)),
    "solarize": Strengths(COLOR, ("threshold",), (224, 128, 32)),
    "solarize_add": Strengths(COLOR, ("amount",), (30, 60, 110)),
    "invert": Strengths(COLOR),
    "autocontrast": Strengths(COLOR),
    "equalize": Strengths(COLOR),
    "grayscale": Strengths(COLOR),
    "channel_shuffle": Strengths(COLOR),
    "channel_drop": Strengths(COLOR),
    "sharpness": Strengths(FILTERS, ("strength",), (0.2, 0.5, 0.9)),
    "gaussian_blur": Strengths(FILTERS, ("sigma_max",), (0.5, 1.0, 3.0), {"kernel": 9}),
    "motion_blur": Strengths(FILTERS, ("length",), (3, 7, 15)),
    "gaussian_noise": Strengths(FILTERS, ("std",), (0.1, 0.25, 0.5)),
    "shot_noise": Strengths(FILTERS, ("photons",), (60.0, 12.0, 3.0)),
    "salt_and_pepper": Strengths(FILTERS, ("amount",), (0.1, 0.25, 0.5)),
    "jpeg": Strengths(FILTERS, ("quality_min", "quality_max"), (50, 20, 5)),
    "cutout": Strengths(ERASING, ("size",), (4, 8, 16)),
    "random_erasing": Strengths(ERASING, ("area_max",), (0.1, 0.25, 0.5)),
    "gridmask": Strengths(ERASING, ("ratio",), (0.8, 0.6, 0.4)),
    "mixup": Strengths(MIXING, ("alpha",), (0.1, 0.4, 1.0)),
    "cutmix": Strengths(MIXING, ("alpha",), (1.0,)),
    "mixup_or_cutmix": Strengths(MIXING),
    "saliency_cutmix": Strengths(MIXING, ("blocks",), (2, 4, 8)),
    "mosaic": Strengths(MIXING, ("center_min",), (0.4, 0.25, 0.1)),
    "copy_paste": Strengths(MIXING, ("object_probability",), (0.25, 0.5, 1.0)),
    "randaugment": Strengths(POLICIES, ("magnitude",), (2.0, 5.0, 10.0)),
    "autoaugment": Strengths(POLICIES, ("policy",), ("svhn", "cifar10", "imagenet")),
    "trivialaugment": Strengths(POLICIES),
    "augmix": Strengths(POLICIES, ("severity",), (1.0, 3.0, 10.0)),
    "three_augment": Strengths(POLICIES),
    "ink_bleed": Strengths(DOCUMENTS, ("strength",), (0.3, 0.6, 1.0)),
    "fading": Strengths(DOCUMENTS, ("strength",), (0.3, 0.6, 1.0)),
    "dithering": Strengths(DOCUMENTS, ("size",), (2, 4, 8)),
    "blot": Strengths(DOCUMENTS, ("count",), (1, 3, 9)),
    "paper_tint": Strengths(DOCUMENTS, ("warmth",), (0.1, 0.2, 0.4)),
    "texture": Strengths(DOCUMENTS, ("strength",), (0.1, 0.2, 0.4)),
    "folding_shadow": Strengths(DOCUMENTS, ("strength",), (0.2, 0.4, 0.8)),
    "lighting_gradient": Strengths(DOCUMENTS, ("strength",), (0.2, 0.4, 0.8)),
    "document_scan": Strengths(DOCUMENTS, ("strength",), (0.3, 0.6, 1.0)),
    "document": Strengths(
        DOCUMENTS,
        ("opacity",),
        (0.5, 1.0),
        {"ink": ("fading", "blot"), "paper": ("paper_tint", "texture"), "post": ("lighting_gradient",)},
    ),
    "one_of": Strengths(CHOOSING, others={"ops": ("invert", "solarize", "grayscale")}),
    "some_of": Strengths(
        CHOOSING, ("n_max",), (1, 3), {"n_min": 1, "ops": ("invert", "flip_vertical", "channel_shuffle")}
    ),
    "sequence": Strengths(CHOOSING, others={"ops": ("grayscale", "invert")}),
    "by_class": Strengths(CHOOSING, others={"of": "posterize", "bits": (1, 2, 3, 8)}),  # for four classes
    "filter_boxes": Strengths(OTHERS, ("min_area",), (700.0, 1000.0)),
}
