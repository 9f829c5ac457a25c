r"""As few_labels_strangers.py, with FixMatch that learns no image of more energy than 95% of the labelled ones.

    python launch.py sweep --sweep=configs/sweeps/few_labels_energy.py \
        --results=configs/sweeps/results/few_labels_energy.jsonl

Without strangers it shows what the threshold costs. Not measured yet; the trials without it are those of
few_labels_strangers.jsonl: begin with a copy of it.
"""

from configs.sweeps import few_labels, few_labels_strangers

CONFIG = few_labels.CONFIG

ENERGY = "energy of 95% of the labelled"


def trials():
    for group, overrides in few_labels_strangers.trials():
        yield group, overrides
        stages = {"stages": ("head", "fixmatch"), "fixmatch.method.energy": 0.95}
        yield f"{group}, {ENERGY}", overrides | stages


COMPARISONS = tuple(
    ((f"{group}, {ENERGY}", "fixmatch"), (group, "fixmatch"))
    for group in (few_labels.GROUP, few_labels_strangers.STRANGERS)
)
