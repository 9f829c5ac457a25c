"""The quickstart's stages on your own images: an .npz with `images` uint8 [n h w c] and `labels`, -1 for none.

    python launch.py --config=configs/own_images.py --config.data.source.path=my_images.npz --workdir=runs/own_images

Every image with a label that is not drawn into `labels_per_class`, `validation` or `test` counts as unlabelled.
The augmentation mirrors pictures; for text and digits say --config.augmented.augment.flip.probability=0.0, and so on.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config(arg: str = "") -> ConfigDict:
    config = quickstart.get_config(arg)
    with config.unlocked():
        config.data.source = ConfigDict({"name": "npz", "path": "my_images.npz"})
        config.data.test = 100
        for name in ("student", "student2"):
            threshold = min(
                config[name].pseudo_labels.threshold, 0.3
            )  # the paper's: a teacher of photographs is rarely sure
            config[name].pseudo_labels.threshold = threshold
        for name in config.stages:
            augment = config[name].augment
            if augment.ops:
                augment.ops = ("flip", *augment.ops)
                augment.flip = ConfigDict({"probability": 0.5})
    return config
