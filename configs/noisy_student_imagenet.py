r"""Noisy student training as published (arXiv 1911.04252): EfficientNet-B7, then L0, L1, L2 and L2 again on ImageNet.

    python launch.py --config=configs/noisy_student_imagenet.py --workdir=runs/noisy_student_imagenet \
        --config.data.source.path=imagenet/train --config.data.source.test_path=imagenet/validation \
        --config.data.source.unlabelled_path=my_other_images

The recipe of the paper: RandAugment with 2 operations of magnitude 27, dropout 0.5, stochastic depth 0.2; RMSProp with
2,048 labelled images in a step, learning rate 0.128, times 0.97 every 4.8 epochs after 5 epochs of warm-up; 350 epochs;
weight decay 1e-5; EMA 0.9999; label smoothing 0.1; soft pseudo-labels above 0.3, balanced to 130,000 for each class;
unlabelled batches 14 times as large as labelled ones, 28 times in the last round. At the end the upper layers are
trained for 1.5 epochs at a larger resolution, without augmentation. `:tiny` has one small student of a small teacher.

For hundreds of accelerators. Not measured. The paper has 88.4% for L2, 86.9% for a B7 that learned from it, and 85.0%
for B7 alone. Its 300 million unlabelled images (JFT) are not public.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

BATCH = 2048
EPOCHS = 350.0


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    source = {"name": "folder", "path": "imagenet/train", "test_path": "imagenet/validation", "size": 800}
    config.data = common.stand_in(classes=10, labels_per_class=2) if tiny else {"source": source}
    config.stages = (
        ("teacher", "student1", "fixed")
        if tiny
        else ("teacher", "student1", "student2", "student3", "student4", "fixed")
    )
    config.teacher = {
        "model": small() if tiny else network(variant="b7"),
        "size": 37 if tiny else 600,
        "method": {"name": "supervised", "label_smoothing": 0.1},
        "batch": {"labelled": BATCH},
        "augment": noise(),
        "optim": rmsprop(learning_rate=0.016 * BATCH / 256, warmup_percent=100 * 5 / EPOCHS, rules=((".*", 1.0),)),
        "epochs": EPOCHS,
        "ema_decay": 0.9999,
        "log_every": 100,
        "save_every": 5000,
    }
    if tiny:
        config.student1 = student(model=small(), size=23, teacher="teacher", ratio=14, per_class=4)
    else:
        config.student1 = student(model=network(variant="l0"), size=380, teacher="teacher", ratio=14, per_class=130_000)
        config.student2 = student(
            model=network(variant="l1"), size=380, teacher="student1", ratio=14, per_class=130_000
        )
        config.student3 = student(
            model=network(variant="l2"), size=475, teacher="student2", ratio=14, per_class=130_000
        )
        config.student4 = student(
            model=network(variant="l2"), size=475, teacher="student3", ratio=28, per_class=130_000
        )
    upper_layers = "head/.*" if tiny else "(head|conv_head|bn2|blocks/[56])/.*"
    config.fixed = {
        "model": small() if tiny else network(variant="l2"),
        "init": "student1" if tiny else "student4",
        "method": {"name": "supervised", "label_smoothing": 0.1},
        "batch": {"labelled": BATCH},
        "optim": rmsprop(learning_rate=0.001, warmup_percent=0.0, rules=((upper_layers, 1.0), (".*", 0.0))),
        "epochs": 1.5,
        "ema_decay": 0.9999,
        "log_every": 100,
        "save_every": 5000,
    }
    return common.shrink(config) if tiny else config


def student(*, model: dict[str, Any], size: int, teacher: str, ratio: int, per_class: int) -> dict[str, Any]:
    """Returns a stage that trains a noisy student.

    Args:
        model: the model block.
        size: height and width of the images, in pixels.
        teacher: the stage that predicts the pseudo-labels.
        ratio: unlabelled images in a step for each labelled one.
        per_class: number of pseudo-labels for each class.
    """
    return {
        "model": model,
        "size": size,
        "teacher": teacher,
        "method": {"name": "noisy_student", "label_smoothing": 0.1},
        "batch": {"labelled": BATCH, "unlabelled": ratio * BATCH},
        "augment": noise(),
        "pseudo_labels": {"threshold": 0.3, "balance": True, "per_class": per_class, "soft": True},
        "optim": rmsprop(learning_rate=0.016 * BATCH / 256, warmup_percent=100 * 5 / EPOCHS, rules=((".*", 1.0),)),
        "epochs": EPOCHS,
        "ema_decay": 0.9999,
        "log_every": 100,
        "save_every": 5000,
    }


def network(*, variant: str) -> dict[str, Any]:
    """Returns the model block of an EfficientNet, "b7" or "l0" to "l2"."""
    return {
        "name": "efficientnet",
        "variant": variant,
        "dropout": 0.5,
        "stochastic_depth": 0.2,
        "dtype": "bfloat16",
    }


def small() -> dict[str, Any]:
    """Returns the model block of the `:tiny` form."""
    return {"name": "cnn", "width": 8}


def noise() -> dict[str, Any]:
    """Returns the augmentation of teacher and students; magnitude 27 of 30 is 9 of 10."""
    return {
        "ops": ("random_resized_crop", "flip", "randaugment"),
        "randaugment": {"layers": 2, "magnitude": 9.0},
    }


def rmsprop(*, learning_rate: float, warmup_percent: float, rules: tuple[tuple[str, float], ...]) -> dict[str, Any]:
    """Returns an optimizer block; the arguments are as for `common.adamw`."""
    return {
        "algorithm": {"name": "rmsprop"},
        "learning_rate": learning_rate,
        "warmup_percent": warmup_percent,
        "schedule": {"name": "exponential", "factor": 0.97, "period_epochs": 4.8},
        "weight_decay": 1e-5,
        "clip": 0.0,
        "rules": rules,
    }
