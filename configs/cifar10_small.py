"""CIFAR-10 with 25 labels per class on two cores: a small network, 10,000 images without labels, minutes.

    python launch.py --config=configs/cifar10_small.py --workdir=runs/cifar10_small \
        --config.data.source.path=cifar10/train.parquet --config.data.source.test_path=cifar10/test.parquet

Far from the published setting, which `configs/cifar10_fixmatch.py` has: 1,500 updates in place of 2^20, of a network
with 95,000 parameters. `configs/sweeps/cifar10_small.py` compares the stages on three seeds. `:tiny` runs without the
files.
"""

from ml_collections import ConfigDict

from configs import common
from configs.cifar10_fixmatch import WEAK
from configs.quickstart import stage

STRONG = {
    "ops": ("flip", "crop", "randaugment", "cutout"),
    "crop": {"padding": 4, "border": "reflect"},
    "randaugment": {"layers": 2, "magnitude": 9.0, "magnitude_std": 0.5},
    "cutout": {"size": 12},
}
UPDATES = 1500


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.cifar10(tiny, labels_per_class=25)
    config.data.unlabelled = 0 if tiny else 10_000
    config.stages = ("supervised", "augmented", "student", "fixmatch")
    supervised = {"name": "supervised", "label_smoothing": 0.0}
    noisy_student = {"name": "noisy_student", "unlabelled_weight": 1.0, "label_smoothing": 0.0}
    shape = {"width": 32, "updates": UPDATES}
    config.supervised = stage(supervised, augment={"ops": ()}, **shape)
    config.augmented = stage(supervised, augment=WEAK, dropout=0.3, **shape)
    config.student = stage(noisy_student, teacher="augmented", augment=STRONG, dropout=0.3, **shape)
    config.student.pseudo_labels.threshold = 0.3
    config.fixmatch = stage({"name": "fixmatch", "threshold": 0.95}, teacher="itself", augment=WEAK, **shape)
    config.fixmatch.teacher = ""
    config.fixmatch.strong_augment = STRONG
    return common.shrink(config) if tiny else config
