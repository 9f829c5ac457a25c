"""Nuclei in microscope images with 10, 20 and 50 masks: what each way of using the other images gives.

    python launch.py sweep --sweep=configs/sweeps/segment_few_labels.py \
        --results=configs/sweeps/results/segment_few_labels.jsonl

The images (CC0, the 2018 Data Science Bowl) are expected in $EFFICIENT_JAX_DATA/nuclei, with the folders train and
validation; the latter are the test images.
"""

CONFIG = "configs/segment_few_labels.py"

DATA = "$EFFICIENT_JAX_DATA/nuclei"
SOURCE = {
    "data.source.path": f"{DATA}/train/images",
    "data.source.masks": f"{DATA}/train/masks",
    "data.source.test_path": f"{DATA}/validation/images",
    "data.source.test_masks": f"{DATA}/validation/masks",
    "data.source.instances": True,
}


def trials():
    for seed in range(5):
        for masks in (10, 20, 50):
            yield f"{masks} masks", {"seed": seed, "data.labels_per_class": masks, **SOURCE}


COMPARISONS = tuple(
    ((f"{masks} masks", this), (f"{masks} masks", "supervised"))
    for masks in (10, 20, 50)
    for this in ("copy_paste", "ema_teacher", "student")
)
