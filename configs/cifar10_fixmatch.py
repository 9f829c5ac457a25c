"""FixMatch on CIFAR-10 with 25 labels per class: WRN-28-2, the published settings (arXiv 2001.07685, table 4).

    python launch.py --config=configs/cifar10_fixmatch.py --workdir=runs/cifar10_fixmatch \
        --config.data.source.path=cifar10/train.parquet --config.data.source.test_path=cifar10/test.parquet

Published with 2^20 updates: 94.93% with 250 labels, 95.69% with 4,000 (`--config.data.labels_per_class=400`), best of
an accelerator's day. Here 2^16 updates, meant for one accelerator: not yet run, no figure is claimed. `supervised` has
the same labels and updates. `:tiny` runs without the files.
"""

from ml_collections import ConfigDict

from configs import common

UPDATES = 2**16
WEAK = {"ops": ("flip", "crop"), "crop": {"padding": 4, "border": "reflect"}}
STRONG = {
    "ops": ("flip", "crop", "randaugment", "cutout"),
    "crop": {"padding": 4, "border": "reflect"},
    "randaugment": {"layers": 2, "magnitude": 10.0, "magnitude_std": 5.0},
    "cutout": {"size": 16},
}


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.cifar10(tiny, labels_per_class=25)
    config.stages = ("supervised", "fixmatch")
    config.supervised = ConfigDict(
        {
            "model": {"name": "wide_resnet", "depth": 10 if tiny else 28, "width": 2},
            "method": {"name": "supervised", "label_smoothing": 0.0},
            "batch": {"labelled": 64},
            "augment": WEAK,
            "optim": common.sgd(learning_rate=0.03, weight_decay=5e-4),
            "updates": UPDATES,
            "epochs": 0.0,
            "ema_decay": 0.999,
            "log_every": 100,
            "save_every": 5000,
        }
    )
    config.supervised.optim.schedule = {"name": "quarter_cosine"}
    config.fixmatch = config.supervised.copy_and_resolve_references()
    config.fixmatch.method = {"name": "fixmatch", "threshold": 0.95, "unlabelled_weight": 1.0, "label_smoothing": 0.0}
    config.fixmatch.batch.unlabelled = 7 * 64
    config.fixmatch.strong_augment = STRONG
    return common.shrink(config) if tiny else config
