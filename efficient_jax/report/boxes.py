"""Boxes over images on the pages of a run: the worst images, true boxes beside the predicted ones."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from efficient_jax.report import plots, sheets

SIDE = 256  # pixels: images are enlarged to about this where boxes are drawn on them


def drawn(images: UInt8[np.ndarray, "*n h w c"], rows: Float[np.ndarray, "*n m 6"]) -> UInt8[np.ndarray, "*n h2 w2 3"]:
    """Returns images with boxes, enlarged.

    Args:
        images: of any number of channels.
        rows: left, top, right, bottom in pixels, class, and visible share or score; 0 is no box.
    """
    height, width = images.shape[-3:-1]
    scale = max(1, SIDE // max(height, width))
    flat = images.reshape(-1, *images.shape[-3:]), rows.reshape(-1, *rows.shape[-2:])
    tiles = [
        sheets.tile({"image": image, "boxes": boxes[:, :4], "box_visible": boxes[:, 5]}, scale)
        for image, boxes in zip(*flat, strict=True)
    ]
    return np.stack(tiles).reshape(*images.shape[:-3], scale * height, scale * width, 3)


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
            [f"{(true[:, 5] > 0).sum()} true, {(predicted[:, 5] > 0).sum()} predicted; AP50 {1 - loss:.2f}", str(name)],
        )
        for image, true, predicted, name, loss in zip(*(arrays[key][:most] for key in names), strict=True)
    ]
