r"""What does a student know of digits that it never saw? No 3s, and only 7s and 8s; bias corrected; 5 paired seeds.

    python launch.py sweep --sweep=configs/sweeps/hinton_omitted.py \
        --results=configs/sweeps/results/hinton_omitted.jsonl

Of 10,000 test images Hinton et al. get 206 wrong without 3s, 109 with the bias of 3 put right, 47.3% of them with 7s
and 8s alone, 13.2% with those two biases put right, both by the test images (arXiv 1503.02531, section 3).
"""

CONFIG = "configs/hinton.py"


def trials():
    for seed in range(5):
        yield "3,000 digits", {"seed": seed}


COMPARISONS = tuple(
    (("3,000 digits", stage), ("3,000 digits", than))
    for stage, than in (
        ("distilled800_t20", "alone800"),
        ("no3", "distilled800_t20"),
        ("no3_corrected", "no3"),
        ("only78_corrected", "only78"),
    )
)
