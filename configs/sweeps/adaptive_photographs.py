r"""FixMatch, FreeMatch and SoftMatch on photographs of clothing, at 4 and 20 labels per class, 5 paired seeds.

    python launch.py sweep --sweep=configs/sweeps/adaptive_photographs.py \
        --results=configs/sweeps/results/adaptive_photographs.jsonl

The photographs (CC0, github.com/alexeygrigorev/clothing-dataset-small) are expected in
$EFFICIENT_JAX_DATA/clothing, with the folders train and validation; the latter are the test images.
"""

CONFIG = "configs/adaptive_photographs.py"

DATA = "$EFFICIENT_JAX_DATA/clothing"
SOURCE = {"data.source.path": f"{DATA}/train", "data.source.test_path": f"{DATA}/validation"}
LABELS = (20, 4)


def trials():
    for seed in range(5):
        for labels in LABELS:
            yield f"{labels} labels per class", {"seed": seed, "data.labels_per_class": labels, **SOURCE}


COMPARISONS = tuple(
    ((f"{labels} labels per class", this), (f"{labels} labels per class", other))
    for labels in LABELS
    for this, other in (
        ("fixmatch", "head"),
        ("freematch", "head"),
        ("softmatch", "head"),
        ("freematch", "fixmatch"),
        ("softmatch", "fixmatch"),
    )
)
