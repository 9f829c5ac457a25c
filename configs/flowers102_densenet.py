"""Oxford Flowers-102 with DenseNet-121: RandAugment, CutMix or MixUp, label smoothing 0.1.

    tfds build oxford_flowers102 --file_format=array_record
    python launch.py --config=configs/flowers102_densenet.py --workdir=runs/flowers102_densenet \
        --config.densenet.init=densenet121.safetensors

`init` is a file of timm or torchvision weights (.safetensors or .pth); without it, training is from scratch, which with
ten labels per class is of little use. Not yet run on the data set itself, which needs a network once: no figure is
claimed. `:tiny` runs without it.
"""

from ml_collections import ConfigDict

from configs import common

CLASSES = 102
EPOCHS = 60.0


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.stand_in(classes=CLASSES) if tiny else common.tfds(name="oxford_flowers102", size=224)
    config.stages = ("densenet",)
    optim = common.adamw(learning_rate=1e-3, warmup_percent=100 * 2 / EPOCHS)
    optim.rules = (("head/.*", 1.0), (".*", 0.1))
    config.densenet = ConfigDict(
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
        config.densenet.model = {"name": "cnn", "width": 8}
    return common.shrink(config) if tiny else config
