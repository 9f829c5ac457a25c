"""The sources of images, by the names that `config.data.source.name` chooses them by; one module for each kind."""

from collections.abc import Callable

from efficient_jax.data.dataset import Source
from efficient_jax.data.sources import (
    coco_files,
    colored_noise,
    handwritten_digits,
    image_folders,
    image_tables,
    mask_folders,
    npz_files,
    parquet_files,
    tar_shards,
    tfds_records,
    voc_files,
    yolo_files,
)

ENCODED: dict[str, Callable[..., Source]] = {
    "coco": coco_files.coco,
    "folder": image_folders.folder,
    "masks": mask_folders.masks,
    "parquet": parquet_files.parquet,
    "table": image_tables.table,
    "tar": tar_shards.tar,
    "tfds": tfds_records.tfds,
    "voc": voc_files.voc,
    "yolo": yolo_files.yolo,
}
"""Sources of encoded images. Their first parameter `feed`, no config key, says whether these are decoded on access."""

SOURCES: dict[str, Callable[..., Source]] = ENCODED | {
    "digits": handwritten_digits.digits,
    "mnist5k": handwritten_digits.mnist5k,
    "npz": npz_files.npz,
    "synthetic": colored_noise.synthetic,
}
"""All sources: each returns every image with its label, as numpy arrays in host memory or decoded on access."""
