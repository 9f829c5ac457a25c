"""Oxford Flowers-102, 10 labels per class: EfficientNet-Lite0 from ImageNet, a head first, then all of it.

    tfds build oxford_flowers102 --file_format=array_record
    python launch.py --config=configs/flowers102_finetune.py --workdir=runs/flowers102_finetune

1,020 labelled images, 6,149 for the test. RandAugment, CutMix or MixUp, label smoothing 0.1. Not yet run on the data
set itself, which needs a network once: no figure is claimed. `:tiny` runs without it.
"""

from ml_collections import ConfigDict

from configs import common

CLASSES = 102


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.stand_in(classes=CLASSES) if tiny else common.tfds(name="oxford_flowers102", size=224)
    config.stages = ("head", "finetuned")
    config.head = common.lite_head()
    config.finetuned = common.lite(init="head", epochs=30.0, rules=(common.NORMS, (".*", 1.0)), layer_decay=0.9)
    config.finetuned.augment = common.strong()
    return common.shrink(config) if tiny else config
