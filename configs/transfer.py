"""Four ways to train on labelled images compared: random weights, a frozen network with a head, and two of fine-tuning.

    python launch.py --config=configs/transfer.py --config.data.source.path=my_images --workdir=runs/transfer

`my_images` has a folder for each class. The network is EfficientNet-Lite0 at 96 pixels. `scratch` starts from random
weights; `head` is a logistic head on ImageNet features; `two_rates` and `layerwise` continue from the head, with a
tenth of the head's learning rate for the rest of the network, or with 0.9 of the rate of the layer above. Both leave
the batch statistics of ImageNet as they are.

Two CPU cores: 26 minutes for `layerwise` with 3,068 images, 160 pixels and 960 steps. Expected test accuracy (341
photographs of clothing in 10 classes; 2026-11-21; `configs/sweeps/transfer.py`):

    labels per class   steps   seeds   scratch    head   two_rates   layerwise
                  10     100       3     14.9%   63.0%       64.2%       67.9%
                  50     200       3     22.6%   77.4%       80.7%       82.8%
                 all     960       1         -   83.3%       87.1%       90.0%
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {"source": {"name": "folder", "path": "my_images", "size": 32 if tiny else 96}}  # 96 to 224
    config.stages = ("scratch", "head", "two_rates", "layerwise")
    config.scratch = trained(init="", rules=((".*", 1.0),), layer_decay=1.0)
    config.head = common.linear_head(head="logistic")
    config.two_rates = trained(
        init="head",
        rules=(("head/.*", 1.0), common.NORMS, (".*", 0.1)),  # 0.03 to 0.3
        layer_decay=1.0,
    )
    config.layerwise = trained(
        init="head",
        rules=(common.NORMS, (".*", 1.0)),
        layer_decay=0.9,  # 0.65 to 1.0
    )
    return common.shrink(config) if tiny else config


def trained(*, init: str, rules: tuple[tuple[str, float], ...], layer_decay: float) -> ConfigDict:
    """Returns a stage that trains the whole network; `rules` and `layer_decay` as for `common.adamw`.

    Args:
        init: stage that training starts from; "": random weights.
    """
    return ConfigDict(
        {
            "model": common.lite(variant="lite0", stochastic_depth=0.0),
            "init": init,
            "method": {"name": "supervised", "label_smoothing": 0.1},  # 0.0 to 0.2
            "batch": {"labelled": 32},
            "augment": common.crops(),
            "optim": common.adamw(
                learning_rate=1e-3,  # 1e-4 to 3e-3
                warmup_percent=10.0,
                layer_decay=layer_decay,
                rules=rules,
            ),
            "steps": 100,  # 100 with 100 images, 1,000 with 3,000
            "ema_decay": 0.95,  # 0.9 to 0.999, higher with more steps
            "log_every": 20,
            "save_every": 1000,
        }
    )
