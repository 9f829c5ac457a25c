r"""A pretrained network on your own images that a table (CSV) describes: the stages of finetune.py.

    python launch.py --config=configs/finetune_table.py --workdir=runs/table \
        --config.data.source.path=labels.csv --config.data.source.folder=my_images --config.data.test=100

`file` and `label` name the columns. `suffix=.jpg` is for file names without an ending, and `group` names a column:
images with the same value are never split between training and test. Where an image can have several labels, `labels`
names columns of 0 and 1, in place of `label`.

Not measured.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {
        "source": {
            "name": "table",
            "path": "labels.csv",
            "file": "file",
            "label": "label",
            "size": 32 if tiny else 160,  # 96 to 224
        }
    }
    config.stages = ("head", "finetuned")
    config.head = common.linear_head(head="logistic")
    config.finetuned = {
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
    return common.shrink(config) if tiny else config
