"""Class maps over images on the pages of a run: tinted images, a legend of the colors, worst images, IoU by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from efficient_jax.metrics import segmentation
from efficient_jax.metrics.classification import NOT_COUNTED
from efficient_jax.report import plots, sheets, tables
from efficient_jax.types import INTERVAL, Column

MEAN = "mean of the classes"
SIDE = 160  # pixels of the larger side of an image beside another
CLASS_HEADERS = ["class", "IoU, % [95% interval]", "boundary IoU, % [95% interval]"]
IOU = Column("iou", "IoU, %", INTERVAL)


def colors(classes: Sequence[str]) -> list[sheets.Color | None]:
    """Returns the color of each class, None for the background, which stays as it is.

    Args:
        classes: class names.
    """
    following = iter(sheets.class_colors(len(classes)))
    return [None if is_bare else next(following) for is_bare in segmentation.background(classes)]


def palette(classes: Sequence[str]) -> list[sheets.Color]:
    """Returns the colors of numbered pixels, that of 0 first, which is never drawn.

    Args:
        classes: class names.
    """
    return [sheets.BLACK, *sheets.class_colors(len(classes))]


def numbered(maps: Integer[np.ndarray, "*n h w"], classes: Sequence[str]) -> Integer[np.ndarray, "*n h w"]:
    """Returns the index in `palette` of the color of each pixel; 0 for the background and where there is no class.

    Args:
        maps: class index of each pixel, 255 where it has none.
        classes: class names.
    """
    numbers = np.zeros(NOT_COUNTED + 1, np.int32)
    tinted_classes = [i for i, is_bare in enumerate(segmentation.background(classes)) if not is_bare]
    numbers[tinted_classes] = np.arange(1, len(tinted_classes) + 1)
    of_pixels: np.ndarray = numbers[maps]
    return of_pixels


def legend(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (class name, CSS color) of each class, "" as the color of the background.

    Args:
        classes: class names.
    """
    return [(name, sheets.css(color) if color else "") for name, color in zip(classes, colors(classes), strict=True)]


def tinted(
    images: UInt8[np.ndarray, "*n h w c"], maps: Integer[np.ndarray, "*n h w"], classes: Sequence[str]
) -> UInt8[np.ndarray, "*n h w 3"]:
    """Returns images whose pixels have half the color of their class.

    Args:
        images: of any number of channels.
        maps: class index of each pixel; 255, no class, stays as it is.
        classes: class names.
    """
    flat = images.reshape(-1, *images.shape[-3:]), numbered(maps, classes).reshape(-1, *maps.shape[-2:])
    tiles = [
        sheets.tile({"image": image, "mask": mask}, 1, palette(classes)) for image, mask in zip(*flat, strict=True)
    ]
    return np.stack(tiles).reshape(*images.shape[:-1], 3)


def mistakes(arrays: Mapping[str, np.ndarray], classes: Sequence[str], most: int) -> list[plots.Captioned]:
    """Returns images with their true map beside the predicted one, as the template takes them.

    Args:
        arrays: "images", "label", "predicted", "file_names" and "loss", all in the order to show.
        classes: class names.
        most: number of images at most.

    """
    images, labels, predicted = (arrays[name][:most] for name in ("images", "label", "predicted"))
    if not len(images):
        return []
    ious = segmentation.mean_iou(segmentation.overlaps(predicted, labels, len(classes)))
    counted = np.where(labels == NOT_COUNTED, NOT_COUNTED, predicted)
    pairs = zip(tinted(images, labels, classes), tinted(images, counted, classes), strict=True)
    return [
        plots.Captioned(
            plots.strip(pair, SIDE), [f"mean IoU {tables.figure(iou, '.1f', 100)}%, loss {loss:.3f}", str(name)]
        )
        for pair, iou, loss, name in zip(pairs, ious, arrays["loss"], arrays["file_names"], strict=False)
    ]


def part_tables(figures: Mapping[str, Any], classes: Sequence[str]) -> list[tables.Titled]:
    """Returns the intersection over union of each class and their mean, of whole regions and of their boundaries; no
    table where the figures have none.

    Args:
        figures: of test images, as from `metrics.segmentation.of_overlaps`, each class by its name or index.
        classes: class names.
    """
    if "iou" not in figures:
        return []
    columns = []
    for kind in ("", "boundary_"):
        shares = [*figures.get(f"{kind}iou", {}).values(), figures.get(f"{kind}mean_iou")]
        limits = [*figures.get(f"{kind}iou_interval", {}).values(), figures.get(f"{kind}mean_iou_interval")]
        pairs = zip(shares, limits, strict=True)
        columns.append([tables.with_interval(IOU, {"iou": share, "iou_interval": pair}) for share, pair in pairs])
    names = [*classes[: len(figures["iou"])], MEAN]
    return [("Classes", CLASS_HEADERS, [list(row) for row in zip(names, *columns, strict=True)])]
