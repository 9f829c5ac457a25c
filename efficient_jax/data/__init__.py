"""Sources of images, honest splits, and the order in which they are fed."""

from collections.abc import Callable

from efficient_jax.data import folder, parquet, sources, tfds

SOURCES: dict[str, Callable[..., sources.Source]] = {
    "folder": folder.folder,
    "mnist5k": sources.mnist5k,
    "npz": sources.npz,
    "parquet": parquet.parquet,
    "synthetic": sources.synthetic,
    "tfds": tfds.tfds,
}
