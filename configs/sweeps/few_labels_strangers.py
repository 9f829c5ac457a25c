r"""As few_labels.py, and again with 500 images of CIFAR-10, which show none of the classes, among the unlabelled.

    python launch.py sweep --sweep=configs/sweeps/few_labels_strangers.py \
        --results=configs/sweeps/results/few_labels_strangers.jsonl

They come from $EFFICIENT_JAX_DATA/cifar10/test.parquet, and are written to runs/cifar10_500 once. The trials without
them are those of few_labels.jsonl: begin with a copy of it.
"""

import os
from pathlib import Path

import pyarrow.parquet

from configs.sweeps import few_labels

CONFIG = few_labels.CONFIG

STRANGERS = "with 500 strangers in the pool"
CIFAR10 = Path(os.environ.get("EFFICIENT_JAX_DATA", ".")) / "cifar10/test.parquet"
FOLDER = Path("runs/cifar10_500")


def trials():
    _write()
    yield from few_labels.trials()
    changes = {"stages": ("head", "finetuned", "student", "fixmatch"), "data.source.unlabelled_path": str(FOLDER)}
    for seed in range(3):
        yield STRANGERS, {"seed": seed, **few_labels.SOURCE, **changes}


def _write() -> None:
    if FOLDER.exists() or not CIFAR10.exists():
        return
    part = FOLDER.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    for row, image in enumerate(pyarrow.parquet.read_table(CIFAR10, columns=["image"])["image"][:500].to_pylist()):
        (part / f"{row}.jpg").write_bytes(image["bytes"])
    part.rename(FOLDER)


COMPARISONS = tuple(((STRANGERS, stage), (few_labels.GROUP, stage)) for stage in ("student", "fixmatch"))
