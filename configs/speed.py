"""Three networks at 224 pixels in bfloat16 on drawn images, with what big recipes do to images: made to be measured.

    python launch.py bench --config=configs/speed.py --workdir=runs/speed

Meant for an accelerator; nothing worth having is learned. `:tiny` has smaller networks and images.
"""

from ml_collections import ConfigDict

from configs import common

HEAVY = {
    "ops": ("random_resized_crop", "flip", "randaugment", "mixup_or_cutmix"),
    "randaugment": {"layers": 2, "magnitude": 9.0},
}


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    source = {"name": "synthetic", "classes": 1000, "size": 224, "images": 4000}
    data = ConfigDict({"source": source, "labels_per_class": 0, "test": 1000, "validation": 0})
    config.data = common.stand_in(classes=10) if tiny else data
    config.stages = ("resnet50", "efficientnet_b0", "vit_b16")
    config.resnet50 = stage({"name": "resnet", "depth": 18 if tiny else 50}, batch=256)
    config.efficientnet_b0 = stage({"name": "efficientnet", "variant": "lite0" if tiny else "b0"}, batch=256)
    config.vit_b16 = stage({"name": "vit", "variant": "S/16" if tiny else "B/16"}, batch=256)
    return common.shrink(config) if tiny else config


def stage(model: dict, *, batch: int) -> ConfigDict:
    return ConfigDict(
        {
            "model": {"dtype": "bfloat16"} | model,
            "method": {"name": "supervised", "label_smoothing": 0.1},
            "batch": {"labelled": batch},
            "augment": HEAVY,
            "optim": common.adamw(learning_rate=1e-3),
            "updates": 1000,
            "ema_decay": 0.999,
            "log_every": 100,
            "save_every": 1000,
        }
    )
