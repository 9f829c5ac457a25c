r"""Which temperature for which student? Two layers of 30 and of 800 units, T = 1, 2, 4, 8 and 20, 3 paired seeds.

    python launch.py sweep --sweep=configs/sweeps/hinton_temperature.py \
        --results=configs/sweeps/results/hinton_temperature.jsonl

Hinton et al. find T above 8 all alike for 300 units and more, and 2.5 to 4 best for 30 (arXiv 1503.02531, section 3).
"""

CONFIG = "configs/hinton.py"

TEMPERATURES = (1, 2, 4, 8, 20)
WIDTHS = (30, 800)


def trials():
    students = [
        name for width in WIDTHS for name in (f"alone{width}", *(f"distilled{width}_t{t}" for t in TEMPERATURES))
    ]
    for seed in range(3):
        yield "3,000 digits", {"seed": seed, "stages": ("teacher", *students)}


COMPARISONS = tuple(
    (("3,000 digits", f"distilled{width}_t{t}"), ("3,000 digits", f"alone{width}"))
    for width in WIDTHS
    for t in TEMPERATURES
)
