"""Do images drawn from Gaussians of each class help? MNIST, the quickstart's teacher, paired seeds.

    python launch.py sweep --sweep=configs/sweeps/generated.py --results=configs/sweeps/results/generated.jsonl

20 images of each class are drawn from its labelled ones alone, in 8 directions at most; with a weight of 1.0 each comes
as often as an image that a person labelled; 0.0 is the control.
"""

CONFIG = "configs/generated.py"

WEIGHTS = (0.0, 0.3, 1.0)


def trials():
    for seed in range(5):
        for labels in (4, 10, 25):
            for weight in WEIGHTS:
                overrides = {"seed": seed, "data.labels_per_class": labels, "data.generated.weight": weight}
                yield f"{labels} labels per class, weight {weight}", overrides


COMPARISONS = tuple(
    ((f"{labels} labels per class, weight {weight}", stage), (f"{labels} labels per class, weight 0.0", stage))
    for labels in (4, 10, 25)
    for weight in WEIGHTS[1:]
    for stage in ("supervised", "augmented")
)
