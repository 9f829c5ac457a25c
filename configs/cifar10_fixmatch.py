r"""FixMatch on CIFAR-10 with 25 labels per class: WRN-28-2, the published settings (arXiv 2001.07685, table 4).

    python launch.py --config=configs/cifar10_fixmatch.py --workdir=runs/cifar10_fixmatch \
        --config.data.source.path=cifar10/train.parquet --config.data.source.test_path=cifar10/test.parquet

Published with 2^20 steps: 94.93% with 250 labels, 95.69% with 4,000 (`--config.data.labels_per_class=400`).
Here 2^16 steps, meant for one accelerator. `supervised` has the same labels and steps. Not measured. `:tiny` runs
without the files.
"""

from ml_collections import ConfigDict

from configs import common

STEPS = 2**16  # published: 2**20


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.cifar10(tiny, labels_per_class=25)
    config.stages = ("supervised", "fixmatch")

    depth = 10 if tiny else 28
    config.supervised = {
        "model": {"name": "wide_resnet", "depth": depth, "width": 2},
        "method": {"name": "supervised"},
        "batch": {"labelled": 64},
        "augment": common.cifar_weak(),
        "optim": sgd(),
        "steps": STEPS,
        "ema_decay": 0.999,
        "log_every": 100,
        "save_every": 5000,
    }
    config.fixmatch = {
        "model": {"name": "wide_resnet", "depth": depth, "width": 2},
        "method": {"name": "fixmatch", "threshold": 0.95},  # 0.7 to 0.98
        "batch": {"labelled": 64, "unlabelled": 7 * 64},
        "augment": common.cifar_weak(),
        "strong_augment": common.cifar_strong(magnitude=10.0, magnitude_std=5.0, cutout=16),
        "optim": sgd(),
        "steps": STEPS,
        "ema_decay": 0.999,
        "log_every": 100,
        "save_every": 5000,
    }
    return common.shrink(config) if tiny else config


def sgd() -> dict:
    """Returns the optimizer of both stages: Nesterov momentum and a quarter of a cosine."""
    return {
        "algorithm": {"name": "sgd", "momentum": 0.9},
        "learning_rate": 0.03,  # 0.01 to 0.1
        "schedule": {"name": "quarter_cosine"},
        "weight_decay": 5e-4,  # 1e-4 to 1e-3
        "clip": 0.0,
        "rules": ((".*", 1.0),),
    }
