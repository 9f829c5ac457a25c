r"""Nine methods at 10 labels per class and four of them at 4, 25 and 100, 5 paired seeds, and negative controls.

    python launch.py sweep --sweep=configs/sweeps/semi_supervised.py \
        --results=configs/sweeps/results/semi_supervised.jsonl
"""

CONFIG = "configs/semi_supervised.py"

SOME = ("supervised", "augmented", "noisy_student", "fixmatch", "mean_teacher")
CONTROLS = {
    "10 labels per class, student without noise": {
        "stages": ("augmented", "noisy_student"),
        "noisy_student.augment.ops": (),
        "noisy_student.model.dropout": 0.0,
    },
    "10 labels per class, shuffled pseudo-labels": {
        "stages": ("augmented", "noisy_student"),
        "noisy_student.pseudo_labels.shuffled": True,
    },
    "10 labels per class, threshold above 1": {"stages": ("fixmatch",), "fixmatch.method.threshold": 1.1},
}


def trials():
    for seed in range(5):
        yield "10 labels per class", {"seed": seed, "data.labels_per_class": 10}
        for group, changes in CONTROLS.items():
            yield group, {"seed": seed, "data.labels_per_class": 10, **changes}
        for labels in (4, 25, 100):
            yield f"{labels} labels per class", {"seed": seed, "data.labels_per_class": labels, "stages": SOME}


COMPARISONS = (
    *(
        (("10 labels per class", stage), ("10 labels per class", "augmented"))
        for stage in ("kd", "pseudo_label", "mean_teacher", "uda", "fixmatch", "flexmatch", "noisy_student")
    ),
    *(
        ((f"{labels} labels per class", stage), (f"{labels} labels per class", "augmented"))
        for labels in (4, 25, 100)
        for stage in SOME[2:]
    ),
    *(
        (("10 labels per class", changes["stages"][-1]), (group, changes["stages"][-1]))
        for group, changes in CONTROLS.items()
    ),
)
