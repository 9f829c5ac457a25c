"""The stages of the quickstart on your own images: an .npz with `images` uint8 [n h w c] and `labels`, -1 for none.

    python launch.py --config=configs/own_images.py --config.data.source.path=my_images.npz --workdir=runs/own_images

A labelled image that is drawn neither into `labels_per_class` nor into `validation` or `test` counts as unlabelled.
The augmentation flips images horizontally. For text and digits switch that off in every stage that augments:
`--config.augmented.augment.flip.probability=0.0`, and so on. Not measured.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {
        "source": {"name": "npz", "path": "my_images.npz"},
        "labels_per_class": 10,
        "test": 100,
    }
    config.stages = ("supervised", "augmented", "student", "student2", "distilled")

    config.supervised = {
        "model": {"name": "cnn", "width": 16},  # 16 to 64
        "method": {"name": "supervised"},
        "batch": {"labelled": 64},
        "augment": {"ops": ()},
        "optim": common.small_adamw(learning_rate=3e-3, steps=300, warmup_steps=50),
        "steps": 300,
    }
    config.augmented = {
        "model": {"name": "cnn", "width": 16, "dropout": 0.3},  # dropout: 0.0 to 0.5
        "method": {"name": "supervised"},
        "batch": {"labelled": 64},
        "augment": mild(),
        "optim": common.small_adamw(learning_rate=3e-3, steps=1000, warmup_steps=50),  # rate: 1e-3 to 1e-2
        "steps": 1000,
    }
    config.student = {
        "model": {"name": "cnn", "width": 16, "dropout": 0.3},
        "method": {"name": "noisy_student"},
        "teacher": "augmented",
        "pseudo_labels": {"threshold": 0.3},  # 0.3 to 0.95; arXiv 1911.04252 has 0.3 for photographs
        "batch": {"labelled": 32, "unlabelled": 96},  # 1 to 7 unlabelled images for each labelled one
        "augment": noise(),
        "optim": common.small_adamw(learning_rate=3e-3, steps=1000, warmup_steps=50),
        "steps": 1000,
    }
    config.student2 = {
        "model": {"name": "cnn", "width": 24, "dropout": 0.3},
        "method": {"name": "noisy_student"},
        "teacher": "student",
        "pseudo_labels": {"threshold": 0.3},
        "batch": {"labelled": 32, "unlabelled": 96},
        "augment": noise(),
        "optim": common.small_adamw(learning_rate=3e-3, steps=1000, warmup_steps=50),
        "steps": 1000,
    }
    config.distilled = {
        "model": {"name": "cnn", "width": 8},
        "method": {"name": "distill", "temperature": 4.0},  # 1.0 to 20.0
        "teacher": "student2",
        "batch": {"labelled": 32, "unlabelled": 96},
        "augment": mild(),
        "optim": common.small_adamw(learning_rate=3e-3, steps=1000, warmup_steps=50),
        "steps": 1000,
    }
    return common.shrink(config) if tiny else config


def mild() -> dict:
    """Returns the weak augmentation: flip, rotation, shear, shift and scale."""
    return {"ops": ("flip", "affine"), "flip": {"probability": 0.5}, "affine": common.small_affine()}


def noise() -> dict:
    """Returns the strong augmentation: that of `mild`, RandAugment and cutout."""
    return {
        "ops": ("flip", "affine", "randaugment", "cutout"),
        "flip": {"probability": 0.5},
        "affine": common.small_affine(),
        "randaugment": {"layers": 1, "magnitude": 5.0},  # 1 to 3 layers; 3 to 10
        "cutout": {"size": 8},  # a quarter to a half of the image's height
    }
