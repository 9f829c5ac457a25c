"""Oxford Flowers-102 with DenseNet-121, two recipes: SGD with CutMix then MixUp, and AdamW with one of the two.

    tfds build oxford_flowers102 --file_format=array_record
    python launch.py --config=configs/flowers102_densenet.py --workdir=runs/flowers102_densenet \
        --config.sgd.init=densenet121.safetensors --config.modern.init=densenet121.safetensors

`sgd` is KerasCV's recipe: SGD with momentum 0.9, batches of 32, RandAugment with 3 operations of its ten, each of
magnitude 0.3 +- 0.2 on a scale of 0 to 1 and applied at a rate of 0.5, then CutMix, then MixUp; label smoothing 0.1.
KerasCV mixes up to four images where this package mixes the same two twice; momentum is Nesterov's; a constant
learning rate of 0.01 is Keras's default. `modern` has AdamW with warm-up and cosine decay, a tenth of the head's rate
for the rest, crops and mirror images, and CutMix or MixUp for each image. Both see as many images.

`init` is a file of timm or torchvision weights (.safetensors or .pth); without it, training is from scratch, which with
ten labels per class is of little use. Not yet run on the data set itself, which needs a network once: no figure is
claimed. `:tiny` runs without it.
"""

from ml_collections import ConfigDict

from configs import common

CLASSES = 102
EPOCHS = 60.0
KERAS_CV_OPS = (
    *("autocontrast", "equalize", "solarize", "color", "contrast", "brightness"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
)


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.stand_in(classes=CLASSES) if tiny else common.tfds(name="oxford_flowers102", size=224)
    config.stages = ("sgd", "modern")
    config.sgd = keras_cv()
    optim = {"learning_rate": 1e-3, "warmup_percent": 100 * 2 / EPOCHS, "weight_decay": 1e-2, "clip": 1.0}
    optim["rules"] = (("head/.*", 1.0), (".*", 0.1))
    config.modern = ConfigDict(
        {
            "model": {"name": "densenet", "depth": 121, "dropout": 0.2},
            "init": "",
            "method": {"name": "supervised", "label_smoothing": 0.1},
            "batch": {"labelled": 64},
            "augment": common.strong(),
            "optim": optim,
            "updates": 0,
            "epochs": EPOCHS,
            "ema_decay": 0.99,
            "log_every": 20,
            "save_every": 500,
        }
    )
    if tiny:
        config.sgd.model = config.modern.model = {"name": "cnn", "width": 8}
    return common.shrink(config) if tiny else config


def keras_cv() -> ConfigDict:
    randaugment = {"layers": 3, "magnitude": 3.0, "magnitude_std": 2.0}  # of MAX_LEVEL = 10: 0.3 +- 0.2
    augment = {
        "ops": ("randaugment", "cutmix", "mixup"),
        "randaugment": randaugment | {"layer_probability": 0.5, "ops": KERAS_CV_OPS},
        "cutmix": {"alpha": 1.0},
        "mixup": {"alpha": 0.2},
    }
    optim = {
        "algorithm": {"name": "sgd", "momentum": 0.9},
        "learning_rate": 0.01,
        "schedule": {"name": "constant"},
        "weight_decay": 0.0,
        "clip": 0.0,
        "rules": ((".*", 1.0),),
    }
    return ConfigDict(
        {
            "model": {"name": "densenet", "depth": 121, "dropout": 0.0},
            "init": "",
            "method": {"name": "supervised", "label_smoothing": 0.1},
            "batch": {"labelled": 32},
            "augment": augment,
            "optim": optim,
            "updates": 0,
            "epochs": EPOCHS,
            "ema_decay": 0.0,
            "log_every": 20,
            "save_every": 500,
        }
    )
