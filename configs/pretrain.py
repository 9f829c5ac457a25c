"""Learns features from your unlabelled images, for those who have no pretrained network; then trains on few labels.

    python launch.py --config=configs/pretrain.py --config.data.source.path=my_images --workdir=runs/pretrain

`my_images` has a folder for each class; 20 labels per class are used, and the other images serve without labels.
`features` learns a ResNet-18 by LeJEPA (arXiv 2511.08544); its accuracy is that of the nearest labelled neighbours.
`finetuned` starts from these features, `scratch` from random weights. SimCLR: `--config.features.method.name=simclr`.
A network that was pretrained on ImageNet is better wherever there is one (`configs/few_labels.py`).
The accuracies have not been measured yet.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {
        "source": {"name": "folder", "path": "my_images", "size": 32 if tiny else 64},  # 64 to 128
        "labels_per_class": 4 if tiny else 20,
    }
    config.stages = ("features", "finetuned") if tiny else ("features", "finetuned", "scratch")
    config.features = {
        "model": {"name": "resnet", "depth": 18, "stem": "cifar"},
        "method": {"name": "lejepa", "local_views": 2},  # regularisation: 0.01 to 0.1
        "batch": {"labelled": 0, "unlabelled": 64},
        "augment": views(area_min=0.3),
        "strong_augment": views(area_min=0.05, area_max=0.3),
        "optim": common.adamw(learning_rate=5e-4, warmup_percent=5.0),  # 1e-4 to 2e-3
        "steps": 3000,
        "save_every": 500,
    }
    config.finetuned = {"init": "features", **supervised()}
    config.scratch = supervised()
    return common.shrink(config) if tiny else config


def views(*, area_min: float, area_max: float = 1.0) -> dict:
    """Returns the augmentation of a view: a crop, a flip, and a change of color that hides which image it is of."""
    return {
        "ops": ("random_resized_crop", "flip", "color_jitter", "grayscale"),
        "random_resized_crop": {"area_min": area_min, "area_max": area_max},
        "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "probability": 0.8},
        "grayscale": {"probability": 0.2},
    }


def supervised() -> dict:
    """Returns a stage that learns the labels."""
    return {
        "model": {"name": "resnet", "depth": 18, "stem": "cifar"},
        "method": {"name": "supervised", "label_smoothing": 0.1},
        "batch": {"labelled": 32},
        "augment": common.crops(),
        "optim": common.adamw(learning_rate=1e-3, warmup_percent=10.0),  # 3e-4 to 3e-3
        "steps": 400,
        "ema_decay": 0.95,
        "save_every": 1000,
    }
