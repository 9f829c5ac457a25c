"""A pretrained network on your own pictures that a table (CSV) describes: as configs/finetune.py.

    python launch.py --config=configs/finetune_table.py --workdir=runs/table \
        --config.data.source.path=labels.csv --config.data.source.folder=pictures --config.data.test=100

`file` and `label` name the columns; `suffix=.jpg` is for names without an ending, `group` for a column of what belongs
together. Where an image can have several labels, `labels` names columns of 0 and 1 in place of `label`.
"""

from ml_collections import ConfigDict

from configs import finetune


def get_config(arg: str = "") -> ConfigDict:
    config = finetune.get_config(arg)
    columns = {"file": "file", "suffix": "", "label": "label", "group": ""}
    source = {"path": "labels.csv", "folder": "", "test_path": "", "size": config.data.source.size, "unreadable": 0}
    config.data.source = ConfigDict({"name": "table", "fit": "crop", **source, **columns})
    return config
