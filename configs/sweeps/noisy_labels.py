"""Labels of which 20% and 40% are wrong: what helps, against plain training and against true labels, 5 paired seeds.

python launch.py sweep --sweep=configs/sweeps/noisy_labels.py --results=configs/sweeps/results/noisy_labels.jsonl
"""

CONFIG = "configs/noisy_labels.py"

SHARES = (0.2, 0.4)
CLEAN = "true labels"
STAGES = ("smoothed", "gce", "sam", "dropped", "weighted", "fixmatch")


def trials():
    for seed in range(5):
        for share in SHARES:
            yield group(share), {"seed": seed, "data.label_noise.share": share}
        yield CLEAN, {"seed": seed, "data.label_noise.share": 0.0}


def group(share: float) -> str:
    """Returns the name of the trials with a share of wrong labels."""
    return f"{share:.0%} wrong labels"


COMPARISONS = (
    *(((group(share), stage), (group(share), "plain")) for share in SHARES for stage in STAGES),
    *(((group(share), "unlabelled"), (group(share), "fixmatch")) for share in SHARES),
    *(((CLEAN, "plain"), (group(share), "plain")) for share in SHARES),
    ((CLEAN, "dropped"), (CLEAN, "plain")),
)
