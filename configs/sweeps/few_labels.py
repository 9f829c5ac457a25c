"""20 labels per class, and the other images without: what each way of using them gives. Clothing, three seeds.

    python launch.py sweep --sweep=configs/sweeps/few_labels.py --results=configs/sweeps/results/few_labels.jsonl

The photographs (CC0, github.com/alexeygrigorev/clothing-dataset-small) are expected in
$EFFICIENT_JAX_DATA/clothing, with the folders train and validation; the latter are the test images.
"""

CONFIG = "configs/few_labels.py"

GROUP = "20 labels per class"
DATA = "$EFFICIENT_JAX_DATA/clothing"
SOURCE = {"data.source.path": f"{DATA}/train", "data.source.test_path": f"{DATA}/validation"}


def trials():
    for seed in range(3):
        yield GROUP, {"seed": seed, **SOURCE}


COMPARISONS = tuple(
    ((GROUP, this), (GROUP, other))
    for this, other in (
        ("finetuned", "head"),
        ("student", "finetuned"),
        ("fixmatch", "finetuned"),
        ("student", "head"),
        ("fixmatch", "head"),
        ("fixmatch", "student"),
        ("small", "fixmatch"),
    )
)
