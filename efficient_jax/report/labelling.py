"""`..._to_label.html`: the pictures that are most worth labelling, on one page that loads nothing from elsewhere."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from efficient_jax.report import plots, template


def write_page(path: pathlib.Path, rank: str, rows: Sequence[Mapping[str, Any]], images: np.ndarray) -> pathlib.Path:
    """Writes the page of the images to label next.

    Args:
        path: the page.
        rank: the name of the ranking.
        rows: for each image "image", its file; "classes", the most probable (name, probability), in order; "margin",
            the difference of the first two; "score", that of the ranking.
        images: uint8 [n h w c], theirs.
    """
    pictures = [{**row, "picture": plots.single(image)} for row, image in zip(rows, images, strict=True)]
    return template.write(path, "labelling.html", {"rank": rank, "pictures": pictures})
