r"""The five stages of the quickstart at 4, 10 and 25 labels per class, 5 paired seeds, and two negative controls.

    python launch.py sweep --sweep=configs/sweeps/label_efficiency.py \
        --results=configs/sweeps/results/label_efficiency.jsonl
"""

CONFIG = "configs/quickstart.py"

CONTROLS = {
    "10 labels per class, student without noise": {"student.augment.ops": (), "student.model.dropout": 0.0},
    "10 labels per class, shuffled pseudo-labels": {"student.pseudo_labels.shuffled": True},
}


def trials():
    for seed in range(5):
        for labels in (4, 10, 25):
            yield f"{labels} labels per class", {"seed": seed, "data.labels_per_class": labels}
        for group, changes in CONTROLS.items():
            yield group, {"seed": seed, "data.labels_per_class": 10, "stages": ("augmented", "student"), **changes}


COMPARISONS = (
    *(
        ((f"{labels} labels per class", stage), (f"{labels} labels per class", "augmented"))
        for labels in (4, 10, 25)
        for stage in ("student", "student2", "distilled")
    ),
    *((("10 labels per class", "student"), (control, "student")) for control in CONTROLS),
)
