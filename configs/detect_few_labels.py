"""Boxes of objects from few annotated images and many without: four ways compared on your own images.

    python launch.py --config=configs/detect_few_labels.py --config.data.source.path=annotations.json \
        --config.data.source.folder=images --config.data.test=50 --workdir=runs/detect_few_labels

Annotations as for `detect.py`; 20 annotated images are used, the others are the pool. `supervised` learns from the
annotations alone, `copy_paste` too, with objects of one image pasted into another (arXiv 2012.07177): their polygons or
run lengths, and their boxes where there are none. `ema_teacher` continues from `supervised`: strong views learn the
boxes of whose class its moving average is sure (Unbiased Teacher, arXiv 2102.09480). `student` learns the boxes of
which `supervised` is sure.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, detect


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    source = detect.source(size=64 if tiny else 192) | {"objects": ("object_map",)}
    config.data = {"source": source, "labels_per_class": 2 if tiny else 20}
    config.stages = ("supervised", "copy_paste", "ema_teacher", "student")
    config.supervised = stage({"augment": common.turns()})
    config.copy_paste = stage({"augment": common.turns("copy_paste")})
    config.ema_teacher = stage(
        {
            "init": "supervised",
            "method": {"name": "ema_teacher", "threshold": 0.5, "strong_views": 1},  # threshold 0.3 to 0.7
            "batch": {"labelled": 8, "unlabelled": 8},
            "augment": common.turns(),
            "strong_augment": common.recolored(),
            "ema_decay": 0.99,  # 0.99 to 0.999, higher with more steps
        }
    )
    config.student = stage(
        {
            "teacher": "supervised",
            "method": {"name": "noisy_student"},
            "batch": {"labelled": 8, "unlabelled": 8},
            "augment": common.turns(),
            "pseudo_labels": {"threshold": 0.5},  # 0.3 to 0.8
        }
    )
    return common.shrink(config) if tiny else config


def stage(own: dict[str, Any]) -> dict[str, Any]:
    """Returns a stage: what the four have in common, and what is its own."""
    return {
        "model": common.lite(variant="lite0", stochastic_depth=0.0),
        "init": "efficientnet-lite0",
        "decoder": {"name": "boxes", "width": 64, "strides": (4, 8, 16)},  # 64 to 256; 4 to 32
        "method": {"name": "supervised"},
        "batch": {"labelled": 8},
        "optim": common.decoded(),
        "steps": 400,
        "ema_decay": 0.98,  # 0.9 to 0.999, higher with more steps
        "log_every": 50,
        "save_every": 1000,
    } | own
