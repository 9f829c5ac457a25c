"""The first distillation experiments (arXiv 1503.02531, section 3) on 5,000 digits in place of 60,000.

    python launch.py --config=configs/hinton.py --workdir=runs/hinton

A teacher with two layers of 1,200 units, dropout and shifts of up to two pixels; a student of two layers of 800, alone
and distilled at temperature 20, both on the plain images; another that has never seen a 3, whose bias for 3 is
then put right by the 1,000 images without labels; the same where only 7s and 8s are left. `alone30` and the
`distilled...` of other temperatures and widths are for `configs/sweeps/hinton_temperature.py`, which is the comparison;
`configs/sweeps/hinton_omitted.py` is that of the omitted classes.

Unlike there students learn with Adam for a fixed number of updates, and the bias is chosen without any label.
"""

from ml_collections import ConfigDict

from configs import common

TEMPERATURES = (1, 2, 4, 8, 20)
WIDTHS = (30, 800)
PLAIN = {"ops": ()}


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = ConfigDict({"source": {"name": "mnist5k"}, "labels_per_class": 300, "test": 1000, "validation": 0})
    config.stages = ("teacher", "alone800", "distilled800_t20", "no3", "no3_corrected", "only78", "only78_corrected")

    shifts = {"ops": ("affine",), "affine": {"translate": 2 / 28, "fill": 0.0}}
    config.teacher = stage({"name": "supervised"}, width=1200, dropout=0.5, augment=shifts)
    for width in WIDTHS:
        config[f"alone{width}"] = stage({"name": "supervised"}, width=width)
        for temperature in TEMPERATURES:
            config[f"distilled{width}_t{temperature}"] = student(width, float(temperature))
    config.no3 = student(800, 20.0, omit=("3",))
    config.no3_corrected = corrected("no3")
    config.only78 = student(800, 20.0, omit=tuple("01234569"))
    config.only78_corrected = corrected("only78")
    return common.shrink(config) if tiny else config


def stage(
    method: dict, *, width: int, dropout: float = 0.0, augment: dict = PLAIN, teacher: str = "", omit: tuple = ()
) -> ConfigDict:
    return ConfigDict(
        {
            "model": {"name": "mlp", "width": width, "depth": 2, "dropout": dropout},
            "method": method,
            "teacher": teacher,
            "omit": omit,
            "batch": {"labelled": 128, "unlabelled": 0},
            "augment": augment,
            "optim": common.adamw(learning_rate=1e-3, warmup_percent=0.0),
            "updates": 2000,
            "ema_decay": 0.99,
            "log_every": 100,
            "save_every": 2000,
        }
    )


def student(width: int, temperature: float, omit: tuple = ()) -> ConfigDict:
    """Learns the teacher's probabilities alone, no label."""
    method = {"name": "distill", "temperature": temperature, "soft_weight": 1.0, "hard_weight": 0.0}
    return stage(method, width=width, teacher="teacher", omit=omit)


def corrected(init: str) -> ConfigDict:
    return ConfigDict(
        {
            "model": {"name": "mlp", "width": 800, "depth": 2, "dropout": 0.0},
            "method": {"name": "prior_correction"},
            "init": init,
            "augment": PLAIN,
        }
    )
