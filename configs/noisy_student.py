r"""Noisy student training on your own images: labelled ones in a folder for each class, unlabelled ones in another.

    python launch.py --config=configs/noisy_student.py --config.data.source.path=my_images \
        --config.data.source.unlabelled_path=my_other_images --workdir=runs/noisy_student

`teacher` is EfficientNet-Lite0, fine-tuned on the labelled images; it predicts pseudo-labels for the others. `student`,
of the same size, learns from both under noise (RandAugment, cutout, dropout, stochastic depth) and predicts them anew
for `larger`, a Lite1. Students see 128 pixels and start from ImageNet weights, not from those of their teacher. `fixed`
adapts the upper layers of `larger` to 160 pixels and to images without augmentation (arXiv 1906.06423). For fewer
rounds: `--config.stages="('head','teacher','student')"`.

Not measured; few_labels.py has figures of one round at 96 pixels.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {"source": {"name": "folder", "path": "my_images", "size": 32 if tiny else 160}}  # 96 to 224
    config.stages = ("head", "teacher", "student", "larger", "fixed")
    config.head = common.linear_head(head="logistic")
    config.teacher = {
        "model": common.lite(variant="lite0", stochastic_depth=0.0),
        "init": "head",
        "method": {"name": "supervised", "label_smoothing": 0.1},  # 0.0 to 0.2
        "batch": {"labelled": 32},
        "augment": common.crops(),
        "optim": common.adamw(
            learning_rate=1e-3,  # 1e-4 to 3e-3
            warmup_percent=10.0,
            layer_decay=0.9,  # 0.65 to 1.0
            rules=(common.NORMS, (".*", 1.0)),
        ),
        "epochs": 12.0,  # 5 to 50, more with fewer images
        "ema_decay": 0.95,  # 0.9 to 0.999, higher with more steps
        "log_every": 20,
        "save_every": 1000,
    }
    config.student = {
        "model": common.lite(variant="lite0", stochastic_depth=0.2),  # 0.0 to 0.3
        "init": "head",
        "teacher": "teacher",
        "size": 24 if tiny else 128,
        "method": {"name": "noisy_student", "label_smoothing": 0.1},
        "batch": {"labelled": 32, "unlabelled": 96},
        "augment": common.noise(),
        "pseudo_labels": {"threshold": 0.3, "balance": True, "soft": True},  # threshold 0.3 to 0.9
        "optim": common.adamw(
            learning_rate=1e-3,
            warmup_percent=10.0,
            layer_decay=0.9,
            rules=(common.NORMS, (".*", 1.0)),
        ),
        "steps": 600,
        "ema_decay": 0.95,
        "log_every": 20,
        "save_every": 1000,
    }
    config.larger = {
        "model": common.lite(variant="lite1", stochastic_depth=0.2),
        "init": "efficientnet-lite1",
        "teacher": "student",
        "size": 24 if tiny else 128,
        "method": {"name": "noisy_student", "label_smoothing": 0.1},
        "batch": {"labelled": 32, "unlabelled": 96},
        "augment": common.noise(),
        "pseudo_labels": {"threshold": 0.3, "balance": True, "soft": True},
        "optim": common.adamw(
            learning_rate=1e-3,
            warmup_percent=10.0,
            rules=(("head/.*", 10.0), common.NORMS, (".*", 1.0)),
        ),
        "steps": 600,
        "ema_decay": 0.95,
        "log_every": 20,
        "save_every": 1000,
    }
    config.fixed = {
        "model": common.lite(variant="lite1", stochastic_depth=0.0),
        "init": "larger",
        "method": {"name": "supervised", "label_smoothing": 0.1},
        "batch": {"labelled": 32},
        "optim": common.adamw(
            learning_rate=1e-4,
            warmup_percent=10.0,
            rules=(common.NORMS, ("(head|conv_head|blocks/6)/.*", 1.0), (".*", 0.0)),
        ),
        "epochs": 2.0,
        "ema_decay": 0.95,
        "log_every": 20,
        "save_every": 1000,
    }
    return common.shrink(config) if tiny else config
