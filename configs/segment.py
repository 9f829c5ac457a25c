"""The class of each pixel from masks of your own: a pretrained backbone with a light decoder.

    python launch.py --config=configs/segment.py --config.data.source.path=images --config.data.source.masks=masks \
        --config.data.test=50 --workdir=runs/segment
    python launch.py predict --members=runs/segment --images=new_images --out=maps

The mask of `images/a.jpg` is `masks/a.png`: its values are indices of classes, 255 is none; names of classes are the
lines of `masks/classes.txt`. Images without a mask are not used here: `segment_few_labels.py` learns from them too.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {"source": {"name": "masks", "path": "images", "masks": "masks", "size": 64 if tiny else 128}}
    config.stages = ("supervised",)
    config.supervised = {
        "model": common.lite(variant="lite0", stochastic_depth=0.0),
        "init": "efficientnet-lite0",
        "decoder": {"name": "masks", "width": 64},  # 32 to 256
        "method": {"name": "supervised"},
        "batch": {"labelled": 16},
        "augment": common.turns(),
        "optim": common.decoded(),
        "steps": 300,
        "ema_decay": 0.98,  # 0.9 to 0.999, higher with more steps
        "log_every": 50,
        "save_every": 1000,
    }
    return common.shrink(config) if tiny else config
