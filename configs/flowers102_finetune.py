"""Oxford Flowers-102, 10 labels per class: EfficientNet-Lite0 from ImageNet, a linear head first, then all of it.

    tfds build oxford_flowers102 --file_format=array_record
    python launch.py --config=configs/flowers102_finetune.py --workdir=runs/flowers102_finetune

1,020 labelled and 6,149 test images, 224 pixels. `tfds build` downloads the dataset; `:tiny` runs without it.

Not measured.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = (
        common.stand_in(classes=102) if tiny else common.tfds(dataset="oxford_flowers102", size=224, test_split="test")
    )
    config.stages = ("head", "finetuned")
    config.head = common.linear_head(head="logistic")
    config.finetuned = {
        "model": common.lite(variant="lite0", stochastic_depth=0.0),
        "init": "head",
        "method": {"name": "supervised", "label_smoothing": 0.1},  # 0.0 to 0.2
        "batch": {"labelled": 32},
        "augment": common.strong(),
        "optim": common.adamw(
            learning_rate=1e-3,  # 1e-4 to 3e-3
            warmup_percent=10.0,
            layer_decay=0.9,  # 0.65 to 1.0
            rules=(common.NORMS, (".*", 1.0)),
        ),
        "epochs": 30.0,  # 20 to 100
        "ema_decay": 0.95,  # 0.9 to 0.999, higher with more steps
        "log_every": 20,
        "save_every": 1000,
    }
    return common.shrink(config) if tiny else config
