"""A pretrained network on your own pictures: a folder for each class.

    python launch.py --config=configs/finetune.py --config.data.source.path=my_images --workdir=runs/finetune

`head`: a logistic head on the features of EfficientNet-Lite0 as ImageNet left it, in seconds. `finetuned`: from there
the whole network, each layer at 0.9 of the learning rate of the one above it, batch statistics as they are. Test images
come from `--config.data.source.test_path=FOLDER`, or `--config.data.test=200` keeps so many of the others.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.pictures(size=32 if tiny else 160)
    config.data.update({"folds": 0, "fold": 0})
    config.stages = ("head", "finetuned")
    config.head = common.lite_head()
    config.finetuned = common.lite(init="head", epochs=12.0, rules=(common.NORMS, (".*", 1.0)), layer_decay=0.9)
    return common.shrink(config) if tiny else config
