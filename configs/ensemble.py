"""Five students of one teacher: their vote, the mean of their weights, weight averaging, and one distilled network.

    python launch.py --config=configs/ensemble.py --workdir=runs/ensemble
    python launch.py evaluate --soup=uniform --out=runs/ensemble_vote --members='runs/ensemble/student*'
    python launch.py evaluate --soup=uniform --out=runs/ensemble_swa --members='runs/ensemble/swa@*'
    python launch.py evaluate --out=runs/ensemble_one --members=runs/ensemble/student1,runs/ensemble/distilled

Digits, teacher and students as in `configs/quickstart.py`. The students have the same labels and pseudo-labels,
but different initial weights and batches. `swa` continues `student1` at a constant learning rate; the mean of its
checkpoints is SWA (arXiv 1803.05407). `distilled` is as large as one student and learns from all five.
Two CPU cores; the time is not measured. Test accuracy of the vote 96.3, 94.7 and 97.2% (the students' mean: 96.2, 94.6
and 96.6%), of the mean of the students' weights, a control, 11.6, 16.9 and 10.7%, of the mean of the `swa` checkpoints
96.4, 95.1 and 96.6%, of `distilled` 96.2, 95.1 and 96.4% (seeds 0, 1 and 2, 2026-11-21).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.digits(labels_per_class=10)
    students = ("student1", "student2") if tiny else ("student1", "student2", "student3", "student4", "student5")
    config.stages = ("augmented", *students, "swa", "distilled")

    config.augmented = common.cnn_stage(
        method={"name": "supervised"}, width=16, dropout=0.3, augment=common.digits_mild(), labelled=64, steps=1000
    )
    for student in students:
        config[student] = {
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
    config.swa = {
        "model": {"name": "cnn", "width": 16, "dropout": 0.3},
        "init": "student1",
        "method": {"name": "noisy_student"},
        "teacher": "augmented",
        "pseudo_labels": {"threshold": 0.8},
        "batch": {"labelled": 32, "unlabelled": 96},
        "augment": common.digits_noise(),
        "optim": {
            "learning_rate": 3e-3,  # 1e-3 to 1e-2; higher rates give more different checkpoints
            "schedule": {"name": "constant"},
            "weight_decay": 1e-2,
            "clip": 1.0,
            "rules": ((".*", 1.0),),
        },
        "steps": 500,
        "ema_decay": 0.0,
        "save_every": 50,
        "keep_every": 50,
    }
    config.distilled = {
        "teachers": students,
        **common.cnn_stage(
            method={"name": "distill", "temperature": 4.0},  # 1.0 to 20.0
            width=16,
            augment=common.digits_mild(),
            labelled=32,
            unlabelled=96,
            steps=1000,
        ),
    }
    return common.shrink(config) if tiny else config
