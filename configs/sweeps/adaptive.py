"""Six ways to choose what is learned of unlabelled digits, at 4 and 10 labels per class, 5 paired seeds.

python launch.py sweep --sweep=configs/sweeps/adaptive.py --results=configs/sweeps/results/adaptive.jsonl
"""

CONFIG = "configs/adaptive.py"

STAGES = ("flexmatch", "freematch", "softmatch", "adamatch", "debiaspl")
LABELS = (4, 10)


def trials():
    for seed in range(5):
        for labels in LABELS:
            yield f"{labels} labels per class", {"seed": seed, "data.labels_per_class": labels}


COMPARISONS = tuple(
    ((f"{labels} labels per class", stage), (f"{labels} labels per class", "fixmatch"))
    for labels in LABELS
    for stage in STAGES
)
