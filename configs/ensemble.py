"""Five students of one teacher, for a vote; one that goes on, for the mean of its weights; and the vote in one network.

    python launch.py --config=configs/ensemble.py --workdir=runs/ensemble
    python launch.py evaluate --soup=uniform --out=runs/ensemble_vote --members='runs/ensemble/student*'
    python launch.py evaluate --soup=uniform --out=runs/ensemble_swa --members='runs/ensemble/swa@*'
    python launch.py evaluate --out=runs/ensemble_one --members=runs/ensemble/student1,runs/ensemble/distilled

Digits, teacher and students as in `configs/quickstart.py`: the students have the same labels and pseudo-labels, other
initial weights, and draws of their own. Their vote should gain; the mean of their weights is nothing that any of them
learned. `swa` goes on from `student1` at a constant rate; the mean of what it
passes through is SWA (arXiv 1803.05407). `distilled`, no larger than a student, learns from the five.
"""

from ml_collections import ConfigDict

from configs import common
from configs.quickstart import MILD, NOISE, stage


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = ConfigDict({"source": {"name": "mnist5k"}, "labels_per_class": 10, "test": 1000, "validation": 0})
    students = tuple(f"student{number}" for number in range(1, 3 if tiny else 6))
    config.stages = ("augmented", *students, "swa", "distilled")
    noisy_student = {"name": "noisy_student", "unlabelled_weight": 1.0, "label_smoothing": 0.0}
    distill = {"name": "distill", "temperature": 4.0, "soft_weight": 0.9, "hard_weight": 0.1}

    supervised = {"name": "supervised", "label_smoothing": 0.0}
    config.augmented = stage(supervised, width=16, dropout=0.3, augment=MILD)
    for name in (*students, "swa"):
        config[name] = stage(noisy_student, teacher="augmented", width=16, dropout=0.3, augment=NOISE)
    config.swa.update({"init": "student1", "updates": 500, "ema_decay": 0.0, "save_every": 50, "keep_every": 50})
    config.swa.optim.schedule = {"name": "constant"}
    config.swa.optim.warmup_percent = 0.0
    config.distilled = stage(distill, teacher="several", width=16, augment=MILD)
    config.distilled.update({"teacher": "", "teachers": students})
    return common.shrink(config) if tiny else config
