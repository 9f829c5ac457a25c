"""ImageNet with ResNet-50 from random weights: 90 epochs, bfloat16, label smoothing 0.1.

    tfds build imagenet2012 --file_format=array_record
    python launch.py --config=configs/imagenet_resnet50.py --workdir=runs/imagenet_resnet50

The recipe of arXiv 1706.02677 (learning rate 0.1 for each 256 images of the batch, 5 epochs of warm-up) with cosine
decay in place of steps. The images take 193 GB at 224 pixels; where they do not fit into memory they are decoded
whenever one is used. `:tiny` trains a ResNet-18 on drawn images.

For several accelerators. Not measured.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = (
        common.stand_in(classes=10) if tiny else common.tfds(dataset="imagenet2012", size=224, test_split="validation")
    )
    config.stages = ("resnet50",)
    config.resnet50 = {
        "model": {"name": "resnet", "depth": 18 if tiny else 50, "stem": "imagenet", "dtype": "bfloat16"},
        "method": {"name": "supervised", "label_smoothing": 0.1},
        "batch": {"labelled": 1024},  # 256 to 8,192, with the learning rate in proportion
        "augment": {"ops": ("random_resized_crop", "flip")},
        "optim": common.sgd(
            learning_rate=0.1 * 1024 / 256,
            weight_decay=5e-5,  # 3e-5 to 1e-4
            warmup_percent=100 * 5 / 90,  # 5 of the 90 epochs
        ),
        "epochs": 90.0,  # 90 to 300
        "ema_decay": 0.999,
        "log_every": 100,
        "save_every": 5000,
    }
    return common.shrink(config) if tiny else config
