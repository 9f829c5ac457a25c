"""CIFAR-10 with all its labels: ResNet-18 with the stem for small images, 60 epochs.

    python launch.py --config=configs/cifar10.py --workdir=runs/cifar10 \
        --config.data.source.path=cifar10/train.parquet --config.data.source.test_path=cifar10/test.parquet

The parquet files are those of Hugging Face's cifar10. Meant for one accelerator: on two CPU cores an epoch takes a
quarter of an hour. Not yet run to its end: no figure is claimed. `:tiny` runs without the files.
"""

from ml_collections import ConfigDict

from configs import common

EPOCHS = 60.0


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.cifar10(tiny)
    config.stages = ("resnet18",)
    config.resnet18 = ConfigDict(
        {
            "model": {"name": "resnet", "depth": 18, "stem": "cifar", "dtype": "float32"},
            "method": {"name": "supervised", "label_smoothing": 0.1},
            "batch": {"labelled": 512},
            "augment": {
                "ops": ("crop", "flip", "cutout"),
                "crop": {"padding": 4, "border": "reflect"},
                "cutout": {"size": 8},
            },
            "optim": common.sgd(learning_rate=0.4, weight_decay=5e-4, warmup_percent=100 * 5 / EPOCHS),
            "updates": 0,
            "epochs": EPOCHS,
            "ema_decay": 0.99,
            "log_every": 50,
            "save_every": 1000,
        }
    )
    return common.shrink(config) if tiny else config
