r"""RandAugment's two numbers by grid, as arXiv 1909.13719 chooses them, and as many pairs again at random (Bergstra and
Bengio 2012): of the quickstart's student, on development seeds and validation images.

    python launch.py sweep --sweep=configs/sweeps/randaugment.py --results=configs/sweeps/results/randaugment.jsonl
"""

import random

CONFIG = "configs/quickstart.py"
SPLIT = "validation"

GRID = [(layers, magnitude) for layers in (1, 2, 3) for magnitude in (3.0, 6.0, 9.0, 12.0)]
_draws = random.Random(0)
RANDOM = [(_draws.randint(1, 3), round(_draws.uniform(1.0, 15.0), 2)) for _ in GRID]


def trials():
    for seed in (100, 101):
        for how, pairs in (("grid", GRID), ("random", RANDOM)):
            for layers, magnitude in pairs:
                yield (
                    f"{how}: {layers} layers of {magnitude}",
                    {
                        "seed": seed,
                        "stages": ("augmented", "student"),
                        "data.validation": 1000,
                        "student.augment.randaugment.layers": layers,
                        "student.augment.randaugment.magnitude": magnitude,
                        "student.save_every": 1000,  # one checkpoint: of several the best on validation would count
                    },
                )


COMPARISONS = ()
