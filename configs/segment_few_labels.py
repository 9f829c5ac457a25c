"""The class of each pixel from few masks and many images without: four ways compared on your own images.

    python launch.py --config=configs/segment_few_labels.py --config.data.source.path=images \
        --config.data.source.masks=masks --config.data.test=50 --workdir=runs/segment_few_labels

Masks as for `segment.py`. 20 masks are used; the images of the others, and those without a mask, are the pool.
`supervised` learns from the masks alone, `copy_paste` too, with objects of one image pasted into another (arXiv
2012.07177): with `--config.data.source.instances=True` the numbered objects, otherwise all pixels of a class.
`ema_teacher` continues from `supervised`: its moving average labels the pixels of the pool of which it is sure, and
strong views learn them (UniMatch, arXiv 2208.09910). `student` learns the pixels of which `supervised` is sure.

Not measured yet (`configs/sweeps/segment_few_labels.py`).
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {
        "source": {"name": "masks", "path": "images", "masks": "masks", "size": 64 if tiny else 128},
        "labels_per_class": 2 if tiny else 20,
    }
    config.stages = ("supervised", "copy_paste", "ema_teacher", "student")
    config.supervised = stage({"augment": common.turns()})
    config.copy_paste = stage({"augment": common.turns("copy_paste")})
    config.ema_teacher = stage(
        {
            "init": "supervised",
            "method": {"name": "ema_teacher", "threshold": 0.95, "strong_views": 1},  # threshold 0.8 to 0.98
            "batch": {"labelled": 16, "unlabelled": 16},
            "augment": common.turns(),
            "strong_augment": common.recolored("cutmix"),
            "ema_decay": 0.99,  # 0.99 to 0.999, higher with more steps
        }
    )
    config.student = stage(
        {
            "teacher": "supervised",
            "method": {"name": "noisy_student"},
            "batch": {"labelled": 16, "unlabelled": 16},
            "augment": common.turns(),
            "pseudo_labels": {"threshold": 0.9},  # 0.7 to 0.98
        }
    )
    return common.shrink(config) if tiny else config


def stage(own: dict[str, Any]) -> dict[str, Any]:
    """Returns a stage: what the four have in common, and what is its own."""
    return {
        "model": common.lite(variant="lite0", stochastic_depth=0.0),
        "init": "efficientnet-lite0",
        "decoder": {"name": "masks", "width": 64},  # 32 to 256
        "method": {"name": "supervised"},
        "batch": {"labelled": 16},
        "optim": common.decoded(),
        "steps": 300,
        "ema_decay": 0.98,  # 0.9 to 0.999, higher with more steps
        "log_every": 50,
        "save_every": 1000,
    } | own
