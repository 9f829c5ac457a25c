"""Images drawn from a Gaussian of each class, beside the labelled ones: MNIST, with and without augmentation.

    python launch.py --config=configs/generated.py --workdir=runs/generated

20 images of each class are added, fitted to the labelled images of the training split alone.
`configs/sweeps/generated.py` says whether that helps; no figure is claimed before it has been run.
"""

from ml_collections import ConfigDict

from configs import common
from configs.quickstart import MILD, stage

SUPERVISED = {"name": "supervised", "label_smoothing": 0.0}


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = ConfigDict(
        {
            "source": {"name": "mnist5k"},
            "labels_per_class": 10,
            "test": 1000,
            "validation": 0,
            "generated": {"per_class": 20, "components": 8, "weight": 1.0},
        }
    )
    config.stages = ("supervised", "augmented")
    config.supervised = stage(SUPERVISED, width=16, updates=300, augment={"ops": ()})
    config.augmented = stage(SUPERVISED, width=16, dropout=0.3, augment=MILD)
    return common.shrink(config) if tiny else config
