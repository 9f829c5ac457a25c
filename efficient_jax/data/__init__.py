"""Sources of images, honest splits, and the order in which they are fed."""

import inspect
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

GIVEN = ("feed",)
"""What a source is given and no config says."""

STREAMED = tuple(name for name, source in SOURCES.items() if "feed" in inspect.signature(source).parameters)
"""Those whose images need not fit into memory."""
