"""CIFAR-10 with 25 labels per class on two cores, three seeds.

    python launch.py sweep --sweep=configs/sweeps/cifar10_small.py --results=configs/sweeps/results/cifar10_small.jsonl

The parquet files, a JPEG copy, are expected in $EFFICIENT_JAX_DATA/cifar10.
"""

CONFIG = "configs/cifar10_small.py"

DATA = "$EFFICIENT_JAX_DATA/cifar10"
SOURCE = {"data.source.path": f"{DATA}/train.parquet", "data.source.test_path": f"{DATA}/test.parquet"}


def trials():
    for seed in range(3):
        yield "25 labels per class", {"seed": seed, **SOURCE}


COMPARISONS = tuple(
    (("25 labels per class", stage), ("25 labels per class", "augmented")) for stage in ("student", "fixmatch")
)
