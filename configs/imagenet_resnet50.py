"""ImageNet with ResNet-50 from scratch: 90 epochs, bfloat16, label smoothing 0.1.

    tfds build imagenet2012 --file_format=array_record
    python launch.py --config=configs/imagenet_resnet50.py --workdir=runs/imagenet_resnet50

The recipe of arXiv 1706.02677 (learning rate 0.1 for each 256 images, 5 epochs of warm-up) with a cosine in place of
steps. The images are 193 GB at 224 pixels; where they do not fit into memory they are decoded as they are used. Not yet
run: no figure is claimed. `:tiny` trains a ResNet-18 and runs without the data set.
"""

from ml_collections import ConfigDict

from configs import common

BATCH = 1024
EPOCHS = 90.0


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    data = common.tfds(name="imagenet2012", size=224, test_split="validation")
    config.data = common.stand_in(classes=10) if tiny else data
    config.stages = ("resnet50",)
    config.resnet50 = ConfigDict(
        {
            "model": {"name": "resnet", "depth": 18 if tiny else 50, "stem": "imagenet", "dtype": "bfloat16"},
            "norm_axis": "device",
            "method": {"name": "supervised", "label_smoothing": 0.1},
            "batch": {"labelled": BATCH},
            "augment": {"ops": ("random_resized_crop", "flip")},
            "optim": common.sgd(learning_rate=0.1 * BATCH / 256, weight_decay=5e-5, warmup_percent=100 * 5 / EPOCHS),
            "updates": 0,
            "epochs": EPOCHS,
            "ema_decay": 0.999,
            "log_every": 100,
            "save_every": 5000,
        }
    )
    return common.shrink(config) if tiny else config
