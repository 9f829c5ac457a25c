r"""How strong should the students' input noise be? Chosen here, on development seeds and validation images.

    python launch.py sweep --sweep=configs/sweeps/noise_level.py \
        --results=configs/sweeps/results/noise_level.jsonl
"""

CONFIG = "configs/quickstart.py"
SPLIT = "validation"

NOISE = {
    "light": ("affine",),
    "mid": ("affine", "cutout"),
    "strong": ("affine", "randaugment", "cutout"),
}


def trials():
    for seed in (100, 101):
        for labels in (4, 10, 25):
            for noise, ops in NOISE.items():
                yield (
                    f"{labels} labels per class, {noise}",
                    {
                        "seed": seed,
                        "stages": ("augmented", "student", "student2"),
                        "data.labels_per_class": labels,
                        "data.validation": 1000,
                        "student.augment.ops": ops,
                        "student2.augment.ops": ops,
                        # One checkpoint: of several the best on validation would count.
                        "augmented.save_every": 1000,
                        "student.save_every": 1000,
                        "student2.save_every": 1000,
                    },
                )


COMPARISONS = tuple(
    ((f"{labels} labels per class, strong", "student2"), (f"{labels} labels per class, {noise}", "student2"))
    for labels in (4, 10, 25)
    for noise in ("light", "mid")
)
