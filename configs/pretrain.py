"""Learns features from your unlabelled images, for those who have no pretrained network; then trains on few labels.

    python launch.py --config=configs/pretrain.py --config.data.source.path=my_images --workdir=runs/pretrain

`my_images` has a folder for each class; 20 labels per class are used, and the other images serve without labels.
`features` learns a ResNet-18 by LeJEPA (arXiv 2511.08544), from two global views of each image and two local crops of
half the size. `masked` learns a ViT by MAE (arXiv 2111.06377): it sees a quarter of the patches and predicts the
others. The accuracy of both is that of the nearest labelled neighbours. `finetuned` and `masked_finetuned` start from
these features, `scratch` from random weights. SimCLR is `"method": {"name": "simclr"}` without `strong_augment`.
A network that was pretrained on ImageNet is better wherever there is one (`configs/few_labels.py`).
The accuracies have not been measured yet.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    size = 32 if tiny else 64  # 64 to 128
    config.data = {
        "source": {"name": "folder", "path": "my_images", "size": size},
        "labels_per_class": 4 if tiny else 20,
    }
    stages = ("features", "finetuned", "masked", "masked_finetuned")
    config.stages = stages if tiny else (*stages, "scratch")
    resnet = {"name": "resnet", "depth": 18, "stem": "cifar"}
    vit = {"name": "vit", "variant": "Ti/8", "pool": "mean", "class_token": False}
    config.features = {
        "model": resnet,
        "method": {"name": "lejepa", "local_views": 2},  # regularisation: 0.01 to 0.1
        "augment": views(area_min=0.3),
        "strong_augment": views(area_min=0.05, area_max=0.3, size=size // 2),  # of a ViT: a multiple of its patches
        **without_labels(),
    }
    config.masked = {
        "model": vit,
        "method": {"name": "mae", "decoder_width": 128, "decoder_depth": 2},  # mask_ratio: 0.5 to 0.9
        "augment": {"ops": ("random_resized_crop", "flip"), "random_resized_crop": {"area_min": 0.2}},
        **without_labels(),
    }
    config.finetuned = {"model": resnet, "init": "features", **supervised()}
    config.masked_finetuned = {"model": vit, "init": "masked", **supervised()}
    config.scratch = {"model": resnet, **supervised()}
    return common.shrink(config) if tiny else config


def without_labels() -> dict:
    """Returns how features are learned: the images in a step, the optimizer and the number of steps."""
    return {
        "batch": {"labelled": 0, "unlabelled": 64},
        "optim": common.adamw(learning_rate=5e-4, warmup_percent=5.0),  # 1e-4 to 2e-3
        "steps": 3000,
        "save_every": 500,
    }


def views(*, area_min: float, area_max: float = 1.0, size: int = 0) -> dict:
    """Returns the augmentation of a view: a crop, a flip, and a change of color that hides which image it is of.

    Args:
        area_min: smallest share of the image that the crop shows.
        area_max: largest share.
        size: height and width of the crop in pixels; 0: those of the image.
    """
    return {
        "ops": ("random_resized_crop", "flip", "color_jitter", "grayscale"),
        "random_resized_crop": {"area_min": area_min, "area_max": area_max, "size": (size, size)},
        "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "probability": 0.8},
        "grayscale": {"probability": 0.2},
    }


def supervised() -> dict:
    """Returns a stage that learns the labels, without its model."""
    return {
        "method": {"name": "supervised", "label_smoothing": 0.1},
        "batch": {"labelled": 32},
        "augment": common.crops(),
        "optim": common.adamw(learning_rate=1e-3, warmup_percent=10.0),  # 3e-4 to 3e-3
        "steps": 400,
        "ema_decay": 0.95,
        "save_every": 1000,
    }
