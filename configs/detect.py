"""Boxes of objects from annotations of your own: a pretrained backbone with an anchor-free head (FCOS).

    python launch.py --config=configs/detect.py --config.data.source.path=annotations.json \
        --config.data.source.folder=images --config.data.test=50 --workdir=runs/detect

`annotations.json` is in COCO's format; `--config.data.source.name=yolo` and `voc` read theirs. Images without
annotations are not used here: `detect_few_labels.py` learns from them too.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {"source": source(size=64 if tiny else 192)}
    config.stages = ("supervised",)
    config.supervised = {
        "model": common.lite(variant="lite0", stochastic_depth=0.0),
        "init": "efficientnet-lite0",
        "decoder": {"name": "boxes", "width": 64, "strides": (4, 8, 16)},  # 64 to 256; 4 to 32
        "method": {"name": "supervised"},
        "batch": {"labelled": 8},
        "augment": common.turns(),
        "optim": common.decoded(),
        "steps": 400,
        "ema_decay": 0.98,  # 0.9 to 0.999, higher with more steps
        "log_every": 50,
        "save_every": 1000,
    }
    return common.shrink(config) if tiny else config


def source(*, size: int) -> dict:
    """Returns the block of a COCO file with objects.

    Args:
        size: side of the square images in pixels, a multiple of 16.
    """
    return {"name": "coco", "path": "annotations.json", "task": "detection", "size": size, "most_objects": 100}
