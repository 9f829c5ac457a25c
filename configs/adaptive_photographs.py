r"""FixMatch, FreeMatch and SoftMatch from a pretrained network, on your own images.

    python launch.py --config=configs/adaptive_photographs.py --config.data.source.path=my_images \
        --workdir=runs/adaptive_photographs

`my_images` has a folder for each class; 20 labels per class are used, and the other labels are hidden from training.
`head` is a logistic head on ImageNet features of EfficientNet-Lite0; the other stages start from it and learn from the
unlabelled images as well, as `fixmatch` of `configs/few_labels.py`, which also has fine-tuning and a noisy student.
The accuracies have not been measured yet (`configs/sweeps/adaptive_photographs.py`).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {
        "source": {"name": "folder", "path": "my_images", "size": 32 if tiny else 96},  # 96 to 224
        "labels_per_class": 4 if tiny else 20,
    }
    config.stages = ("head", "freematch") if tiny else ("head", "fixmatch", "freematch", "softmatch")
    config.head = common.linear_head(head="logistic")
    config.fixmatch = from_head({"name": "fixmatch", "threshold": 0.8})  # 0.7 to 0.95
    # Moving averages of 20 steps, as there are only 200.
    config.freematch = from_head({"name": "freematch", "momentum": 0.95})  # 0.9 to 0.999
    config.softmatch = from_head({"name": "softmatch", "momentum": 0.95})  # 0.9 to 0.999
    return common.shrink(config) if tiny else config


def from_head(method: dict) -> dict:
    """Returns a stage that continues from the head."""
    return {
        "model": common.lite(variant="lite0", stochastic_depth=0.0),
        "init": "head",
        "method": method,
        "batch": {"labelled": 32, "unlabelled": 48},
        "augment": common.crops(),
        "strong_augment": common.noise(),
        "optim": common.adamw(
            learning_rate=1e-3,  # 1e-4 to 3e-3
            warmup_percent=10.0,
            layer_decay=0.9,  # 0.65 to 1.0
            rules=(common.NORMS, (".*", 1.0)),
        ),
        "steps": 200,
        "ema_decay": 0.95,  # 0.9 to 0.999, higher with more steps
        "log_every": 20,
        "save_every": 1000,
    }
