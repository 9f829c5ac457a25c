"""Three networks at 224 pixels in bfloat16 on drawn images, with the augmentation of large recipes: for `bench`.

    python launch.py bench --config=configs/speed.py --workdir=runs/speed

Nothing useful is learned. `:tiny` has smaller networks and images.

For an accelerator. Not measured.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    images = {"source": {"name": "synthetic", "classes": 1000, "size": 224, "images": 4000}, "test": 1000}
    config.data = common.stand_in(classes=10) if tiny else images
    config.stages = ("resnet50", "efficientnet_b0", "vit_b16")
    config.resnet50 = stage(model={"name": "resnet", "depth": 18 if tiny else 50, "dtype": "bfloat16"})
    config.efficientnet_b0 = stage(
        model={"name": "efficientnet", "variant": "lite0" if tiny else "b0", "dtype": "bfloat16"}
    )
    config.vit_b16 = stage(model={"name": "vit", "variant": "S/16" if tiny else "B/16", "dtype": "bfloat16"})
    return common.shrink(config) if tiny else config


def stage(*, model: dict[str, Any]) -> ConfigDict:
    """Returns a stage that trains `model`, the model block, on batches of 256 images."""
    return ConfigDict(
        {
            "model": model,
            "method": {"name": "supervised", "label_smoothing": 0.1},
            "batch": {"labelled": 256},
            "augment": {
                "ops": ("random_resized_crop", "flip", "randaugment", "mixup_or_cutmix"),
                "randaugment": {"layers": 2, "magnitude": 9.0},
            },
            "optim": common.adamw(learning_rate=1e-3),
            "steps": 1000,
            "ema_decay": 0.999,
            "log_every": 100,
            "save_every": 1000,
        }
    )
