"""Few labels, many images without labels and a pretrained network: five methods compared on your own images.

    python launch.py --config=configs/few_labels.py --config.data.source.path=my_images --workdir=runs/few_labels

`my_images` has a folder for each class; 20 labels per class are used, and the other labels are hidden from training.
`head` is a logistic head on ImageNet features of EfficientNet-Lite0 and `finetuned` continues from it. `student` and
`fixmatch` start from the head too, and learn from the unlabelled images as well. `small` has a sixtieth of the
parameters and is distilled from `fixmatch`. `:tiny` has two of the stages.

Two CPU cores: 25 minutes for all five. Expected test accuracy: head 72.0%, finetuned 79.0%, student 82.5%, fixmatch
79.9%, small 45.5% (341 photographs of clothing in 10 classes, 200 labelled and 2,868 unlabelled images, 3 seeds;
2026-11-21; `configs/sweeps/few_labels.py`). Both thresholds, and teacher and recipe of `small`, were chosen on
another seed.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {
        "source": {"name": "folder", "path": "my_images", "size": 32 if tiny else 96},  # 96 to 224
        "labels_per_class": 4 if tiny else 20,
    }
    config.stages = ("head", "student") if tiny else ("head", "finetuned", "student", "fixmatch", "small")
    config.head = common.linear_head(head="logistic")
    config.finetuned = {
        "model": common.lite(variant="lite0", stochastic_depth=0.0),
        "init": "head",
        "method": {"name": "supervised", "label_smoothing": 0.1},  # 0.0 to 0.2
        "batch": {"labelled": 32},
        "augment": common.crops(),
        "optim": from_head(),
        "steps": 200,
        "ema_decay": 0.95,  # 0.9 to 0.999, higher with more steps
        "log_every": 20,
        "save_every": 1000,
    }
    config.student = {
        "model": common.lite(variant="lite0", stochastic_depth=0.2),  # 0.0 to 0.3
        "init": "head",
        "teacher": "head" if tiny else "finetuned",
        "method": {"name": "noisy_student", "label_smoothing": 0.1},
        "batch": {"labelled": 32, "unlabelled": 96},
        "augment": common.noise(),
        "pseudo_labels": {"threshold": 0.6, "balance": True, "soft": True},  # threshold 0.3 to 0.9
        "optim": from_head(),
        "steps": 200,
        "ema_decay": 0.95,
        "log_every": 20,
        "save_every": 1000,
    }
    config.fixmatch = {
        "model": common.lite(variant="lite0", stochastic_depth=0.0),
        "init": "head",
        "method": {"name": "fixmatch", "threshold": 0.8},  # 0.7 to 0.95
        "batch": {"labelled": 32, "unlabelled": 48},
        "augment": common.crops(),
        "strong_augment": common.noise(),
        "optim": from_head(),
        "steps": 200,
        "ema_decay": 0.95,
        "log_every": 20,
        "save_every": 1000,
    }
    config.small = {  # from random weights: more steps of fewer images, and less noise
        "model": {"name": "cnn", "width": 24},
        "teacher": "fixmatch",
        "method": {
            "name": "distill",
            "temperature": 4.0,  # 1 to 20
            "soft_weight": 0.9,
            "hard_weight": 0.1,
        },
        "batch": {"labelled": 16, "unlabelled": 48},
        "augment": {"ops": ("random_resized_crop", "flip"), "random_resized_crop": {"area_min": 0.35}},
        "optim": common.adamw(learning_rate=3e-3, warmup_percent=10.0),
        "steps": 1000,
        "ema_decay": 0.95,
        "log_every": 20,
        "save_every": 1000,
    }
    return common.shrink(config) if tiny else config


def from_head() -> ConfigDict:
    """Returns the optimizer of the three stages that continue from the head."""
    return common.adamw(
        learning_rate=1e-3,  # 1e-4 to 3e-3
        warmup_percent=10.0,
        layer_decay=0.9,  # 0.65 to 1.0
        rules=(common.NORMS, (".*", 1.0)),
    )
