r"""Oxford Flowers-102, 10 labels per class: DenseNet-121 with two recipes, that of KerasCV and a modern one.

    tfds build oxford_flowers102 --file_format=array_record
    python launch.py --config=configs/flowers102_densenet.py --workdir=runs/flowers102_densenet \
        --config.sgd.init=densenet121.safetensors --config.modern.init=densenet121.safetensors

1,020 labelled and 6,149 test images, 224 pixels. `sgd` is KerasCV's recipe: SGD at a constant rate of 0.01 (the default
of Keras), RandAugment, then CutMix, then MixUp. There are two differences: KerasCV mixes up to four images where this
package mixes the same two twice, and momentum is Nesterov's. `modern` has AdamW with warm-up and cosine decay, a tenth
of the head's learning rate for the rest, random crops and flips, and CutMix or MixUp for each image. Both see as many
images. `init` is a file of timm or torchvision weights (.safetensors or .pth); without it training starts from random
weights, which is of little use with ten labels per class. `tfds build` downloads the dataset; `:tiny` runs without it.

Not measured.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = (
        common.stand_in(classes=102) if tiny else common.tfds(dataset="oxford_flowers102", size=224, test_split="test")
    )
    config.stages = ("sgd", "modern")
    config.sgd = keras_cv(tiny=tiny)
    config.modern = {
        "model": {"name": "cnn", "width": 8} if tiny else {"name": "densenet", "depth": 121, "dropout": 0.2},
        "method": {"name": "supervised", "label_smoothing": 0.1},  # 0.0 to 0.2
        "batch": {"labelled": 64},
        "augment": common.strong(),
        "optim": common.adamw(
            learning_rate=1e-3,  # 3e-4 to 3e-3
            warmup_percent=100 * 2 / 60,  # 2 of the 60 epochs
            rules=(("head/.*", 1.0), (".*", 0.1)),
        ),
        "epochs": 60.0,  # 30 to 200
        "ema_decay": 0.99,  # 0.9 to 0.999, higher with more steps
        "log_every": 20,
    }
    return common.shrink(config) if tiny else config


def keras_cv(*, tiny: bool = False) -> ConfigDict:
    """Returns the stage `sgd`; its RandAugment has magnitudes 0.3 +- 0.2 of the largest, in half of the layers.

    Args:
        tiny: a small network in place of DenseNet-121.
    """
    return ConfigDict(
        {
            "model": {"name": "cnn", "width": 8} if tiny else {"name": "densenet", "depth": 121, "dropout": 0.0},
            "method": {"name": "supervised", "label_smoothing": 0.1},
            "batch": {"labelled": 32},
            "augment": {
                "ops": ("randaugment", "cutmix", "mixup"),
                "randaugment": {
                    "layers": 3,
                    "magnitude": 3.0,  # of 10
                    "magnitude_std": 2.0,
                    "layer_probability": 0.5,
                    "ops": (
                        *("autocontrast", "equalize", "solarize", "color", "contrast", "brightness"),
                        *("shear_x", "shear_y", "translate_x", "translate_y"),
                    ),
                },
                "cutmix": {"alpha": 1.0},
                "mixup": {"alpha": 0.2},
            },
            "optim": {
                "algorithm": {"name": "sgd", "momentum": 0.9},
                "learning_rate": 0.01,  # 0.003 to 0.03
                "schedule": {"name": "constant"},
                "weight_decay": 0.0,
                "clip": 0.0,
                "rules": ((".*", 1.0),),
            },
            "epochs": 60.0,
            "ema_decay": 0.0,
            "log_every": 20,
        }
    )
