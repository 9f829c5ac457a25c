"""`..._to_label.html`: the images most worth labelling on one self-contained page."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from efficient_jax.report import plots, site


def write_page(path: pathlib.Path, rank: str, rows: Sequence[Mapping[str, Any]], images: np.ndarray) -> pathlib.Path:
    """Writes the page of the images to label next.

    Args:
        path: file to write.
        rank: name of the ranking.
        rows: for each image "image", its file; "classes", the most probable (name, probability), in order; "margin",
            the difference of the first two probabilities; "score", its value in the ranking.
        images: uint8 [n h w c], the images of `rows`.

    Returns:
        The path of the page.
    """
    pictures = [{**row, "picture": plots.single(image)} for row, image in zip(rows, images, strict=True)]
    return site.write(path, "labelling.html", {"rank": rank, "pictures": pictures})
