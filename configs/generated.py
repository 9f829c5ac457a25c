"""Images drawn from a Gaussian of each class, beside the labelled images: digits, with and without augmentation.

    python launch.py --config=configs/generated.py --workdir=runs/generated

20 images of each class are added. The Gaussians are fitted to the labelled images of the training set alone.
Two CPU cores, half a minute. Test accuracy with 10 labels per class: `supervised` 78.7% and `augmented` 92.1%; without
generated images, weight 0.0, 75.4 and 92.0%: beside augmentation no gain (means of seeds 0 to 4, 2026-11-21,
`configs/sweeps/generated.py`).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {
        "source": {"name": "mnist5k"},
        "labels_per_class": 10,
        "test": 1000,
        "generated": {"per_class": 20, "components": 8, "weight": 1.0},  # weight: 0.0 (none) to 1.0
    }
    config.stages = ("supervised", "augmented")
    config.supervised = common.cnn_stage(
        method={"name": "supervised"}, width=16, augment={"ops": ()}, labelled=64, steps=300
    )
    config.augmented = common.cnn_stage(
        method={"name": "supervised"}, width=16, dropout=0.3, augment=common.digits_mild(), labelled=64, steps=1000
    )
    return common.shrink(config) if tiny else config
