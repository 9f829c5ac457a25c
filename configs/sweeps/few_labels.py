"""20 labels per class, and the other pictures without: what each way of using them gives. Clothing photographs.

    python launch.py sweep --sweep=configs/sweeps/few_labels.py --results=configs/sweeps/results/few_labels.jsonl

The photographs (CC0, github.com/alexeygrigorev/clothing-dataset-small) are expected in ../shared/data/clothing, with
the folders train and validation; the latter are the test images. The second group adds 500 pictures of CIFAR-10, which
show none of the classes, to the pool: from ../shared/data/cifar10/test.parquet, written to runs/cifar10_500 once.
"""

from pathlib import Path

import pyarrow.parquet

CONFIG = "configs/few_labels.py"

DATA = "../shared/data/clothing"
SOURCE = {"data.source.path": f"{DATA}/train", "data.source.test_path": f"{DATA}/validation"}
CIFAR10 = Path("../shared/data/cifar10/test.parquet")
OTHERS = Path("runs/cifar10_500")


def trials():
    _write_others()
    for seed in range(3):
        yield "20 labels per class", {"seed": seed, **SOURCE}
    changes = {"stages": ("head", "finetuned", "student", "fixmatch"), "data.source.unlabelled_path": str(OTHERS)}
    for seed in range(3):
        yield "with 500 others in the pool", {"seed": seed, **SOURCE, **changes}


def _write_others() -> None:
    if OTHERS.exists() or not CIFAR10.exists():
        return
    OTHERS.mkdir(parents=True)
    for row, image in enumerate(pyarrow.parquet.read_table(CIFAR10, columns=["image"])["image"][:500].to_pylist()):
        (OTHERS / f"{row}.jpg").write_bytes(image["bytes"])


COMPARISONS = (
    *(
        (("20 labels per class", this), ("20 labels per class", other))
        for this, other in (
            ("finetuned", "head"),
            ("student", "finetuned"),
            ("fixmatch", "finetuned"),
            ("small", "fixmatch"),
        )
    ),
    *((("with 500 others in the pool", stage), ("20 labels per class", stage)) for stage in ("student", "fixmatch")),
)
