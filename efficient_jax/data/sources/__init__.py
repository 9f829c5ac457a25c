"""Where images come from: a file for each kind of source, and the names by which `config.data.source` asks for them."""

from collections.abc import Callable

from efficient_jax.data.dataset import Source
from efficient_jax.data.sources import (
    coco_files,
    coloured_noise,
    handwritten_digits,
    npz_files,
    parquet_files,
    picture_folders,
    picture_tables,
    tfds_records,
)

PICTURES: dict[str, Callable[..., Source]] = {
    "coco": coco_files.coco,
    "folder": picture_folders.folder,
    "parquet": parquet_files.parquet,
    "table": picture_tables.table,
    "tfds": tfds_records.tfds,
}
"""Pictures that have to be decoded; `feed`, which is no setting, says whether at once or when they are used."""

SOURCES: dict[str, Callable[..., Source]] = PICTURES | {
    "digits": handwritten_digits.digits,
    "mnist5k": handwritten_digits.mnist5k,
    "npz": npz_files.npz,
    "synthetic": coloured_noise.synthetic,
}
"""Where images come from: each source returns every image with its label, as numpy arrays on the host; images that do
not fit there are decoded when they are asked for."""
