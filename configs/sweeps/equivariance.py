r"""An MLP against a CNN on plain, shifted and shuffled digits: what a convolution knows of images. 5 paired seeds.

    python launch.py sweep --sweep=configs/sweeps/equivariance.py --results=configs/sweeps/results/equivariance.jsonl

Trained on 100 plain digits of each class and tested on 1,000 plain ones, or on the same moved by up to 4 pixels; and
trained and tested on digits whose pixels are in one other order. The test images are the same for all seeds, which
draw the labelled images and the initial weights. No hyper-parameter was tuned.
"""

from configs import equivariance

CONFIG = "configs/equivariance.py"
GROUPS = {
    "plain digits": "plain",
    "test digits shifted by up to 4 pixels": "shifted",
    "pixels shuffled": "shuffled",
}


def trials():
    equivariance.write()
    for seed in range(5):
        for group, name in GROUPS.items():
            yield group, {"seed": seed, "data.source.path": str(equivariance.FOLDER / f"{name}.npz")}


COMPARISONS = (
    *(((group, "cnn"), (group, "mlp")) for group in GROUPS),
    *(((group, stage), ("plain digits", stage)) for group in list(GROUPS)[1:] for stage in ("mlp", "cnn")),
)
