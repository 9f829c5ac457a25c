r"""CIFAR-10 with 25 labels per class on two cores: a small network and 10,000 images without labels.

    python launch.py --config=configs/cifar10_small.py --workdir=runs/cifar10_small \
        --config.data.source.path=cifar10/train.parquet --config.data.source.test_path=cifar10/test.parquet

A network with 95,000 parameters trains for 1,500 steps. `configs/cifar10_fixmatch.py` has a network and a training
length that are closer to the published ones. `:tiny` runs without the files.
Two CPU cores, 7 to 10 minutes. Test accuracy: `supervised` 39.0%, `augmented` 41.9%, `student` 46.2%, `fixmatch` 44.3%
(means of seeds 0 to 2, 2026-11-22, `configs/sweeps/cifar10_small.py`).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.cifar10(tiny, labels_per_class=25)
    if not tiny:
        config.data.unlabelled = 10_000
    config.stages = ("supervised", "augmented", "student", "fixmatch")

    config.supervised = common.cnn_stage(
        method={"name": "supervised"}, width=32, augment={"ops": ()}, labelled=64, steps=1500
    )
    config.augmented = common.cnn_stage(
        method={"name": "supervised"}, width=32, dropout=0.3, augment=common.cifar_weak(), labelled=64, steps=1500
    )
    config.student = {
        "teacher": "augmented",
        "pseudo_labels": {"threshold": 0.3},  # 0.3 to 0.95
        **common.cnn_stage(
            method={"name": "noisy_student"},
            width=32,
            dropout=0.3,
            augment=common.cifar_strong(magnitude=9.0, magnitude_std=0.5, cutout=12),
            labelled=32,
            unlabelled=96,
            steps=1500,
        ),
    }
    config.fixmatch = {
        "strong_augment": common.cifar_strong(magnitude=9.0, magnitude_std=0.5, cutout=12),
        **common.cnn_stage(
            method={"name": "fixmatch", "threshold": 0.95},  # 0.7 to 0.98
            width=32,
            augment=common.cifar_weak(),
            labelled=32,
            unlabelled=96,
            steps=1500,
        ),
    }
    return common.shrink(config) if tiny else config
