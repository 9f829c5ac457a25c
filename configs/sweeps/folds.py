"""Few labels: five folds of them in place of a validation part, so that each labelled image is held out once.

    python launch.py sweep --sweep=configs/sweeps/folds.py

A linear head on frozen features, 20 labels per class. The table has the accuracy of each fold, their mean and standard
deviation; `runs/folds/*.out_of_fold.csv` what each image's run, which had not seen it, says of it. For your own
images change DATA in a copy of this file. The photographs (CC0, github.com/alexeygrigorev/clothing-dataset-small) are
expected in $EFFICIENT_JAX_DATA/clothing. A stage that chooses by validation, as a linear head does its l2, chooses by
the fold that is held out: its accuracy there is a little better than on new images.
"""

CONFIG = "configs/linear_probe.py"
SPLIT = "validation"
FOLDS = 5

DATA = "$EFFICIENT_JAX_DATA/clothing"


def trials():
    for fold in range(FOLDS):
        yield (
            "20 labels per class",
            {
                "data.source.path": f"{DATA}/train",
                "data.source.test_path": f"{DATA}/validation",
                "data.labels_per_class": 20,
                "data.folds": FOLDS,
                "data.fold": fold,
            },
        )
