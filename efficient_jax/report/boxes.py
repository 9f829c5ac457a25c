"""Boxes over images on the pages of a run: the worst images, true boxes beside the predicted ones."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8

from efficient_jax.report import plots, sheets

SIDE = 256  # pixels: images are enlarged to about this where boxes are drawn on them


def drawn(image: UInt8[np.ndarray, "h w c"], rows: Float[np.ndarray, "n 6"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Returns an image with boxes.

    Args:
        image: of any number of channels.
        rows: left, top, right, bottom in pixels, class, and visible share or score; 0 is no box.
    """
    example = {"image": image, "boxes": rows[:, :4], "box_visible": rows[:, 5]}
    return sheets.tile(example, max(1, SIDE // max(image.shape[:2])))


def mistakes(arrays: Mapping[str, np.ndarray], most: int) -> list[plots.Captioned]:
    """Returns images with their true boxes beside the predicted ones.

    Args:
        arrays: "images", "label", "predicted", "file_names" and "loss", all in the order to show.
        most: number of images at most.
    """
    names = ("images", "label", "predicted", "file_names", "loss")
    return [
        plots.Captioned(
            plots.strip([drawn(image, true), drawn(image, predicted)], SIDE),
            [f"{(true[:, 5] > 0).sum()} true, {(predicted[:, 5] > 0).sum()} predicted; AP50 {1 - loss:.2f}", str(name)],
        )
        for image, true, predicted, name, loss in zip(*(arrays[key][:most] for key in names), strict=True)
    ]
