"""Boxes over images on the pages of a run: the worst images, true boxes beside the predicted ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from efficient_jax.report import plots, sheets, tables

SIDE = 256  # pixels: images are enlarged to about this where boxes are drawn on them
SIZES = {
    "": "all",
    "_small": "small, up to 32 x 32 pixels",
    "_medium": "medium",
    "_large": "large, from 96 x 96 pixels on",
}
"""End of the name of a figure -> the objects that it counts."""
SIZE_HEADERS = ["objects, by area in the original image", "AP, %", "AR, %"]
RECALL_HEADERS = ["boxes of a class in an image", "AR, %"]
CLASS_HEADERS = ["class", "AP, %"]
FIGURES = ("ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
"""Names of COCO's figures beside AP, AP50 and AP75."""


def drawn(images: UInt8[np.ndarray, "*n h w c"], rows: Float[np.ndarray, "*n m 6"]) -> UInt8[np.ndarray, "*n h2 w2 3"]:
    """Returns images with boxes in the colors of their classes, enlarged.

    Args:
        images: of any number of channels.
        rows: left, top, right, bottom in pixels, class, and visible share or score; 0 is no box.
    """
    height, width = images.shape[-3:-1]
    scale = max(1, SIDE // max(height, width))
    flat = images.reshape(-1, *images.shape[-3:]), rows.reshape(-1, *rows.shape[-2:])
    tiles = [
        sheets.tile(
            {"image": image, "boxes": boxes[:, :4], "box_label": boxes[:, 4], "box_visible": boxes[:, 5]}, scale
        )
        for image, boxes in zip(*flat, strict=True)
    ]
    return np.stack(tiles).reshape(*images.shape[:-3], scale * height, scale * width, 3)


def legend(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (class name, CSS color) of each class.

    Args:
        classes: class names.
    """
    return [(name, sheets.css(color)) for name, color in zip(classes, sheets.class_colors(len(classes)), strict=False)]


def mistakes(arrays: Mapping[str, np.ndarray], classes: Sequence[str], most: int) -> list[plots.Captioned]:
    """Returns images with their true boxes beside the predicted ones.

    Args:
        arrays: "images", "label", "predicted", "file_names" and "loss", all in the order to show.
        classes: not used.
        most: number of images at most.
    """
    del classes
    names = ("images", "label", "predicted", "file_names", "loss")
    return [
        plots.Captioned(
            plots.strip([drawn(image, true), drawn(image, predicted)], SIDE),
            [
                f"{(true[:, 5] > 0).sum()} true, {(predicted[:, 5] > 0).sum()} predicted",
                f"AP50 {1 - loss:.2f}" if (true[:, 5] > 0).any() else f"highest score {loss:.2f}",
                str(name),
            ],
        )
        for image, true, predicted, name, loss in zip(*(arrays[key][:most] for key in names), strict=True)
    ]


def part_tables(figures: Mapping[str, Any], classes: Sequence[str]) -> list[tables.Titled]:
    """Returns average precision and recall by size, recall by the number of boxes, and average precision by class.

    Args:
        figures: of test images, as from the task's `test_figures`, each class by its name or index.
        classes: class names.
    """
    if "ap_small" not in figures:
        return []
    of_all = {**figures, "ar": figures["ar100"]}
    sizes = [
        [size, *(tables.figure(of_all[f"{name}{end}"], ".2f", 100) for name in ("ap", "ar"))]
        for end, size in SIZES.items()
    ]
    recalls = [[str(most), tables.figure(figures[f"ar{most}"], ".2f", 100)] for most in (1, 10, 100)]
    of_classes = [
        [name, tables.figure(ap, ".2f", 100)] for name, ap in zip(classes, figures["class_ap"].values(), strict=True)
    ]
    return [
        ("Sizes", SIZE_HEADERS, sizes),
        ("Number of boxes", RECALL_HEADERS, recalls),
        ("Classes", CLASS_HEADERS, of_classes),
    ]


def headers() -> list[str]:
    """Returns the headers of `FIGURES` in a table: "ar_small" is "AR small, %"."""
    return [f"{name[:2].upper()}{name[2:].replace('_', ' ')}, %" for name in FIGURES]
