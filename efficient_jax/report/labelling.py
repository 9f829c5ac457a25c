"""`to_label.html`: the images to label next, large enough to see, on one self-contained page."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from efficient_jax.report import plots, site

SIDE = 224  # pixels: larger images are shrunk


def write_page(
    path: pathlib.Path, about: Sequence[str], rows: Sequence[Mapping[str, Any]], images: np.ndarray
) -> pathlib.Path:
    """Writes the page of the images to label next.

    Args:
        path: file to write.
        about: paragraphs on how they were chosen.
        rows: for each image "order", from 1 on; "name", its file; and "reason", why it was chosen.
        images: uint8 [n h w c], the images of `rows`.

    Returns:
        The path of the page.
    """
    shown = [{**row, "image": plots.strip([image], SIDE)} for row, image in zip(rows, images, strict=True)]
    return site.write(path, "labelling.html", {"about": about, "images": shown})
