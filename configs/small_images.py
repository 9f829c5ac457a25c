"""Small images from random weights: a teacher and two noisy students, with the stages and settings of the quickstart.

    python launch.py --config=configs/small_images.py --config.data.source.path=my_images --config.data.test=200

`my_images` has a folder for each class, and one named `unlabelled` for images without a label; without it say
`--config.stages="('augmented',)"`. `train --images` takes this config for small gray images, and where there are no
pretrained weights. The images of photographs should also be flipped:
`--config.augmented.augment.flip.probability=0.5`, and in the same way those of `student` and `student2`.

Two CPU cores: 3 minutes. Test accuracy on MNIST digits with 10 labels per class and 3,900 images without labels:
`augmented` 92.0%, `student` 96.5%, `student2` 97.0% (5 seeds; 2026-11-21; `configs/sweeps/label_efficiency.py`).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {"source": {"name": "folder", "path": "my_images", "size": 28, "channels": 1}}  # 16 to 64 pixels
    config.stages = ("augmented", "student", "student2")
    config.augmented = common.cnn_stage(
        method={"name": "supervised"},
        width=16,
        dropout=0.3,
        augment=flipped(common.digits_mild()),
        labelled=64,
        steps=1000,
    )
    config.student = student(teacher="augmented", width=16)
    config.student2 = student(teacher="student", width=24)
    return common.shrink(config) if tiny else config


def student(*, teacher: str, width: int) -> dict:
    """Returns a noisy student; `width` as for `common.cnn_stage`.

    Args:
        teacher: stage that makes its pseudo-labels.
    """
    return {
        "teacher": teacher,
        "pseudo_labels": {"threshold": 0.8},  # 0.3 to 0.95
        **common.cnn_stage(
            method={"name": "noisy_student"},
            width=width,
            dropout=0.3,
            augment=flipped(common.digits_noise()),
            labelled=32,
            unlabelled=96,
            steps=1000,
        ),
    }


def flipped(augment: dict) -> dict:
    """Returns an augmentation that begins with a flip, which is off: digits and letters have a direction."""
    return {**augment, "ops": ("flip", *augment["ops"]), "flip": {"probability": 0.0}}
