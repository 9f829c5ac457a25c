"""Names of images, each of which becomes text when it is asked for: those of millions are not kept as objects."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from efficient_jax.data.class_names import writable


class Names(Sequence[str]):
    """Names of n images.

    Args:
        name: returns the name of an image by its index among all.
        rows: int [n], which of all images these are, in this order.
    """

    def __init__(self, name: Callable[[int], str], rows: range | Int[np.ndarray, " n"]) -> None:
        self.name, self.rows = name, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.name(int(self.rows[index]))


def of_column(column: Any) -> Callable[[int], str]:
    """Returns what reads a name of a column, as text that can be written.

    Args:
        column: pyarrow.ChunkedArray of bytes or text, often a mapped file.
    """
    return lambda row: writable(os.fsdecode(column[row].as_py()))
