"""Nuclei in microscope images, 10, 20 and 50 of them annotated with boxes: what each way of using the others gives.

    python launch.py sweep --sweep=configs/sweeps/detect_few_labels.py \
        --results=configs/sweeps/results/detect_few_labels.jsonl

The images (CC0, the 2018 Data Science Bowl) are expected in $EFFICIENT_JAX_DATA/nuclei, with the folders train and
validation; the latter are the test images.
"""

CONFIG = "configs/detect_few_labels.py"

DATA = "$EFFICIENT_JAX_DATA/nuclei"
SOURCE = {
    "data.source.path": f"{DATA}/train/annotations.json",
    "data.source.folder": f"{DATA}/train/images",
    "data.source.test_path": f"{DATA}/validation/annotations.json",
    "data.source.test_folder": f"{DATA}/validation/images",
}


def trials():
    for seed in range(5):
        for images in (10, 20, 50):
            yield f"{images} images", {"seed": seed, "data.labels_per_class": images, **SOURCE}


COMPARISONS = tuple(
    ((f"{images} images", this), (f"{images} images", "supervised"))
    for images in (10, 20, 50)
    for this in ("copy_paste", "ema_teacher", "student")
)
