"""Noisy student training as published (arXiv 1911.04252): EfficientNet-B7, then L0, L1, L2 and L2 again on ImageNet.

    python launch.py --config=configs/noisy_student_imagenet.py --workdir=runs/noisy_student_imagenet \
        --config.data.source.path=imagenet/train --config.data.source.test_path=imagenet/validation \
        --config.data.source.unlabelled_path=more_pictures

The paper's recipe: RandAugment of magnitude 27 and 2 operations, dropout 0.5, stochastic depth 0.2; 2,048 labelled
images an update with RMSProp at 0.128, times 0.97 every 4.8 epochs behind 5 of warm-up; 350 epochs; weight decay 1e-5;
EMA 0.9999; labels smoothed by 0.1; pseudo-labels above 0.3, balanced to 130,000 for each class, soft; unlabelled
batches 14 times as large as labelled ones, 28 times in the last round; 1.5 epochs at the larger resolution at the end,
on pictures as they are, shallow layers frozen. Its 300 million unlabelled images (JFT) are not public: bring your own.
With those the paper has 88.4% (L2), 86.9% for a B7 that learned from it, 85.0% for B7 alone. Meant for
hundreds of accelerators; not run: no figure is claimed. `:tiny`, a small network that teaches another, runs without the
data.
"""

from ml_collections import ConfigDict

from configs import common

LADDER = (("b7", 0), ("l0", 14), ("l1", 14), ("l2", 14), ("l2", 28))
SIZES = {"b7": 600, "l0": 380, "l1": 380, "l2": 475}
BATCH = 2048
EPOCHS = 350.0


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    source = {"name": "folder", "path": "imagenet/train", "test_path": "imagenet/validation", "unlabelled_path": ""}
    source |= {"size": 800}
    data = ConfigDict({"source": source, "labels_per_class": 0, "test": 0, "validation": 0})
    config.data = common.stand_in(classes=10) if tiny else data
    config.data.labels_per_class = 2 if tiny else 0
    ladder = LADDER[:2] if tiny else LADDER
    names = ("teacher", *(f"student{i}" for i in range(1, len(ladder))))
    config.stages = (*names, "fixed")
    for i, (name, (variant, ratio)) in enumerate(zip(names, ladder, strict=True)):
        config[name] = stage(variant=variant, size=SIZES[variant], epochs=EPOCHS)
        if ratio:
            config[name].teacher = names[i - 1]
            config[name].batch.unlabelled = ratio * BATCH
            config[name].method = {"name": "noisy_student", "unlabelled_weight": 1.0, "label_smoothing": 0.1}
            config[name].pseudo_labels = {"threshold": 0.3, "balance": True, "per_class": 130_000, "soft": True}
    config.fixed = stage(variant=ladder[-1][0], size=0, epochs=1.5)
    config.fixed.init = names[-1]
    config.fixed.augment = {"ops": ()}
    config.fixed.optim.update({"learning_rate": 0.001, "warmup_percent": 0.0})
    config.fixed.optim.rules = (("(head|conv_head|bn2|blocks/[56])/.*", 1.0), (".*", 0.0))
    if tiny:
        for name in names[1:]:
            config[name].pseudo_labels.per_class = 4
        for name in config.stages:
            config[name].model = {"name": "cnn", "width": 8}
            config[name].size //= 16
        config.fixed.optim.rules = (("head/.*", 1.0), (".*", 0.0))
    return common.shrink(config) if tiny else config


def stage(*, variant: str, size: int, epochs: float) -> ConfigDict:
    return ConfigDict(
        {
            "model": {
                "name": "efficientnet",
                "variant": variant,
                "dropout": 0.5,
                "stochastic_depth": 0.2,
                "tensorflow": True,
                "dtype": "bfloat16",
            },
            "init": "",
            "size": size,
            "method": {"name": "supervised", "label_smoothing": 0.1},
            "batch": {"labelled": BATCH},
            "augment": {
                "ops": ("random_resized_crop", "flip", "randaugment"),
                "randaugment": {"layers": 2, "magnitude": 9.0},  # 27 of 30
            },
            "optim": {
                "algorithm": {"name": "rmsprop"},
                "learning_rate": 0.016 * BATCH / 256,
                "warmup_percent": 100 * 5 / EPOCHS,
                "schedule": {"name": "exponential", "factor": 0.97, "period_epochs": 4.8},
                "weight_decay": 1e-5,
                "clip": 0.0,
                "rules": ((".*", 1.0),),
            },
            "updates": 0,
            "epochs": epochs,
            "ema_decay": 0.9999,
            "log_every": 100,
            "save_every": 5000,
        }
    )
