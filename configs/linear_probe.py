"""Heads on the features of a frozen pretrained network, fitted to your own images: four kinds, and the best of them.

    python launch.py --config=configs/linear_probe.py --config.data.source.path=my_images --workdir=runs/probe

`my_images` has a folder for each class. Test images come from `--config.data.source.test_path=FOLDER`, or
`--config.data.test=200` keeps 200 of the others. The network is EfficientNet-Lite0 as ImageNet left it, at 160 pixels;
for another network change `model` and `init` in a copy of this file.

Two CPU cores: 1.5 minutes with 3,000 images for `ridge` and `logistic`; `cosine` takes longer, not measured.
Expected: 72.0% test accuracy with `logistic` (341 photographs of clothing in 10 classes,
20 labels per class, 3 seeds, 96 pixels: stage `head` of few_labels.py; 2026-11-21). The other heads are
compared in configs/README.md, "Heads on frozen features".
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {"source": {"name": "folder", "path": "my_images", "size": 32 if tiny else 160}}  # 96 to 224
    config.stages = ("ridge", "logistic", "cosine", "knn", "best")
    for name in config.stages:
        config[name] = common.linear_head(head=name)
    return config
