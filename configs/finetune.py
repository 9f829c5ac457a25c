"""A pretrained network on your own pictures: a folder for each class.

    python launch.py --config=configs/finetune.py --config.data.source.path=my_images --workdir=runs/finetune

`head`: a logistic head on the features of EfficientNet-Lite0 as ImageNet left it, in seconds. `finetuned`: from there
the whole network, the layers nearer to the input more slowly. Without `--config.data.source.test_path=FOLDER`, say
`--config.data.test=200` for so many images of the same folder to be kept for the test.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    tiny = common.is_tiny(arg)
    config = ConfigDict()
    config.seed = 0
    config.devices = 0
    source = {"name": "folder", "path": "my_images", "test_path": "", "size": 160, "fit": "crop"}
    config.data = ConfigDict({"source": source, "labels_per_class": 0, "test": 0, "validation": 0})
    config.stages = ("head", "finetuned")
    model = {"name": "efficientnet", "variant": "lite0", "dropout": 0.2, "stochastic_depth": 0.0}
    config.head = ConfigDict(
        {
            "model": model,
            "init": "efficientnet-lite0",
            "method": {"name": "linear_probe", "head": "logistic", "l2": 0.0},
        }
    )
    config.finetuned = ConfigDict(
        {
            "model": model,
            "init": "head",
            "method": {"name": "supervised", "label_smoothing": 0.1},
            "batch": {"labelled": 32},
            "augment": {
                "ops": ("random_resized_crop", "flip"),
                "random_resized_crop": {"area_min": 0.35},
            },
            "optim": {
                "learning_rate": 1e-3,
                "warmup_percent": 10.0,
                "weight_decay": 1e-2,
                "clip": 1.0,
                "layer_decay": 0.9,
                "rules": ((".*", 1.0),),
            },
            "epochs": 8.0,
            "ema_decay": 0.99,
            "log_every": 20,
            "save_every": 500,
        }
    )
    return common.shrink(config) if tiny else config
