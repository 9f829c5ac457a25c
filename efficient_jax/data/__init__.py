"""Sources of images, honest splits, and the order in which they are fed."""

from collections.abc import Callable

from efficient_jax.data import coco, folder, parquet, sources, table, tfds

PICTURES: dict[str, Callable[..., sources.Source]] = {
    "coco": coco.coco,
    "folder": folder.folder,
    "parquet": parquet.parquet,
    "table": table.table,
    "tfds": tfds.tfds,
}
"""Pictures that have to be decoded; `feed`, which is no setting, says whether at once or when they are used."""

SOURCES: dict[str, Callable[..., sources.Source]] = PICTURES | {
    "digits": sources.digits,
    "mnist5k": sources.mnist5k,
    "npz": sources.npz,
    "synthetic": sources.synthetic,
}
