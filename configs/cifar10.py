r"""CIFAR-10 with all its labels: ResNet-18 with the stem for small images, 60 epochs.

    python launch.py --config=configs/cifar10.py --workdir=runs/cifar10 \
        --config.data.source.path=cifar10/train.parquet --config.data.source.test_path=cifar10/test.parquet

The parquet files are those of Hugging Face's cifar10. Meant for one accelerator: on two CPU cores an epoch takes a
quarter of an hour. Accuracy: not measured. `:tiny` runs without the files.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.cifar10(tiny)
    config.stages = ("resnet18",)
    config.resnet18 = {
        "model": {"name": "resnet", "depth": 18, "stem": "cifar"},
        "method": {"name": "supervised", "label_smoothing": 0.1},  # 0.0 to 0.2
        "batch": {"labelled": 512},  # 128 to 1024; scale the learning rate with it
        "augment": {
            "ops": ("crop", "flip", "cutout"),
            "crop": {"padding": 4, "border": "reflect"},
            "cutout": {"size": 8},  # 8 to 16
        },
        "optim": {
            "algorithm": {"name": "sgd", "momentum": 0.9},
            "learning_rate": 0.4,  # 0.1 to 0.8
            "warmup_percent": 100 * 5 / 60,  # 5 of 60 epochs
            "weight_decay": 5e-4,  # 1e-4 to 1e-3
            "clip": 0.0,
            "rules": ((".*", 1.0),),
        },
        "steps": 0,
        "epochs": 60.0,  # 30.0 to 200.0
        "save_every": 1000,
    }
    return common.shrink(config) if tiny else config
