"""A linear head on the features of a frozen network: your own pictures, in seconds.

    python launch.py --config=configs/linear_probe.py --config.data.source.path=my_images --workdir=runs/probe

A folder for each class. The network is EfficientNet-Lite0 as ImageNet left it, at 160 pixels; for another size say
`--config.data.source.size=224`, for another network change `model` and `init` in a copy of this file. Test images come
from `--config.data.source.test_path=FOLDER`, or `--config.data.test=200` keeps so many of the others.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.pictures(size=32 if tiny else 160)
    config.data.update({"folds": 0, "fold": 0})
    config.stages = ("ridge", "logistic")
    config.ridge = common.lite_head()
    config.ridge.method.head = "ridge"
    config.logistic = common.lite_head()
    return config
