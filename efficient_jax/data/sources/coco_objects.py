"""The objects of COCO's annotations after the crop and the resize: boxes, masks, keypoints and maps of categories."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from efficient_jax.data import annotated_boxes
from efficient_jax.data import objects as geometry
from efficient_jax.data.annotated_boxes import Annotated, clipped, fault
from efficient_jax.data.class_names import NO_CLASS
from efficient_jax.data.decode import free_memory
from efficient_jax.data.framing import Framing
from efficient_jax.data.sources.coco_json import WHERE, CocoImage
from efficient_jax.detection import run_lengths
from efficient_jax.errors import UserError, counted

KINDS = ("boxes", "box_mask", "keypoints")

IndexOf = Callable[[dict[str, Any]], int]
"""(annotation) -> index of its class."""


def corners(annotation: Mapping[str, Any]) -> list[float]:
    """Returns the box of an annotation: left, top, right, bottom in pixels.

    Args:
        annotation: with `bbox`.
    """
    left, top, width, height = annotation["bbox"]
    return [left, top, left + width, top + height]


def single(image: CocoImage) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns (annotations of objects that are no crowds and have a box, what is wrong with the other boxes).

    Args:
        image: its annotations.
    """
    no_crowds = [annotation for annotation in image.annotations if not annotation.get("iscrowd")]
    faults = [fault(corners(annotation), (image.width, image.height)) for annotation in no_crowds]
    paired = list(zip(no_crowds, faults, strict=True))
    return (
        [annotation for annotation, wrong in paired if not wrong],
        [f"{annotation['bbox']} of {image.name} ({wrong})" for annotation, wrong in paired if wrong],
    )


def objects(
    images: Sequence[CocoImage], index_of: IndexOf, kinds: tuple[str, ...], most: int, framing: Framing
) -> dict[str, np.ndarray]:
    """Returns `types.Example`'s boxes and what belongs to them, for all images.

    Args:
        images: with their annotations.
        index_of: the class of an annotation.
        kinds: names of `KINDS`.
        most: number of objects of an image that are kept, the largest ones; 0: all.
        framing: how images become one size.

    Raises: UserError for masks that do not fit into memory, or that are not there.
    """
    annotations = [_largest(image, most) for image in images]
    boxes = [
        clipped([corners(each) for each in kept], [index_of(each) for each in kept], _size(image))
        for image, kept in zip(images, annotations, strict=True)
    ]
    sizes = np.array([(max(image.height, 1), max(image.width, 1)) for image in images])
    arrays = annotated_boxes.framed(boxes, sizes, framing, 0)
    shape = arrays["box_label"].shape
    width, height = geometry.window(images[0].width or 1, images[0].height or 1, framing).size
    if "box_mask" in kinds and int(np.prod(shape)) * width * height > free_memory():
        raise UserError(
            f"{WHERE}.objects: box_mask of {counted(shape[0], 'image')} x {counted(shape[1], 'object')} x "
            f"{height} x {width} pixels are more "
            f"than the memory; ask for fewer with {WHERE}.most_objects, or for a smaller size"
        )
    points = max((len(annotation.get("keypoints", ())) // 3 for kept in annotations for annotation in kept), default=0)
    if "box_mask" in kinds:
        arrays["box_mask"] = np.zeros((*shape, height, width), bool)
    if "keypoints" in kinds:
        arrays["keypoints"] = np.zeros((*shape, points, 2), np.float32)
        arrays["keypoint_visible"] = np.zeros((*shape, points), bool)
    for i, (image, kept) in enumerate(zip(images, annotations, strict=True)):
        for j, annotation in enumerate(kept):
            through = geometry.window(image.width, image.height, framing)
            if "box_mask" in kinds:
                where = f"{WHERE}.objects", "leave out 'box_mask'"
                arrays["box_mask"][i, j] = _instance(annotation, image, through, *where)
            if "keypoints" in kinds and annotation.get("keypoints"):
                x, y, flag = np.array(annotation["keypoints"], float).reshape(-1, 3).T
                moved = geometry.keypoints(np.stack([x, y], 1), flag, through)
                arrays["keypoints"][i, j, : len(x)], arrays["keypoint_visible"][i, j, : len(x)] = moved
    if "keypoints" in kinds:
        arrays["keypoints"] = arrays["keypoints"].reshape(shape[0], -1, 2)
        arrays["keypoint_visible"] = arrays["keypoint_visible"].reshape(shape[0], -1)
    return arrays


def shown(image: CocoImage, index_of: IndexOf) -> Annotated:
    """Returns the objects of an image whose boxes can be used, and its crowds: what says which classes it shows.

    Args:
        image: its annotations.
        index_of: the class of an annotation.
    """
    crowds = [each for each in image.annotations if each.get("iscrowd")]
    every = [*single(image)[0], *crowds]
    return clipped([corners(each) for each in every], [index_of(each) for each in every], _size(image))


def category_map(image: CocoImage, index_of: IndexOf, framing: Framing) -> UInt8[np.ndarray, "h w"]:
    """Returns the class of each pixel: 0 where there is no object, 255 on crowds and outside the original image.

    Later annotations lie above earlier ones.

    Args:
        image: with its annotations.
        index_of: the class of an annotation, 1 or more.
        framing: how images become one size.

    Raises: UserError for an object without a mask that can be used.
    """
    through = geometry.window(image.width, image.height, framing)
    pixels = geometry.mask(np.zeros((image.height, image.width), np.uint8), through, NO_CLASS)
    inside = pixels == 0
    for annotation in image.annotations:
        where = f"{WHERE}.path", "mend or remove it"
        mask = _instance(annotation, image, through, *where) & inside
        pixels[mask] = NO_CLASS if annotation.get("iscrowd") else index_of(annotation)
    return pixels


def png_mask(folder: Path, image: CocoImage, framing: Framing) -> UInt8[np.ndarray, "h w"]:
    """Returns the class of each pixel from a PNG file that is named as the image.

    Args:
        folder: of the PNG files.
        image: its entry.
        framing: how images become one size.

    Raises: UserError for a file that cannot be read, has colors, or another size than the image.
    """
    file = (folder / image.name).with_suffix(".png")
    try:
        with Image.open(file) as opened:
            if opened.mode not in ("L", "P", "1"):
                raise ValueError(f"it is {opened.mode}; want 8-bit class indices")
            if opened.size != (image.width, image.height):
                raise ValueError(f"{opened.size} pixels, the image has {image.width} x {image.height}")
            pixels = np.asarray(opened).astype(np.uint8)
    except (OSError, ValueError) as error:
        reason = "not there" if isinstance(error, FileNotFoundError) else str(error)
        raise UserError(f"{WHERE}.masks_path: {str(file)!r}: {reason}") from error
    return geometry.mask(pixels, geometry.window(image.width, image.height, framing))


def _size(image: CocoImage) -> tuple[float, float]:
    return float(max(image.width, 1)), float(max(image.height, 1))


def _largest(image: CocoImage, most: int) -> list[dict[str, Any]]:
    """Returns the objects of some area that are no crowds, the `most` largest (0: all), in their order."""
    usable, _ = single(image)
    by_area = sorted(range(len(usable)), key=lambda i: -usable[i]["bbox"][2] * usable[i]["bbox"][3])
    return [usable[i] for i in sorted(by_area[: most or None])]


def _instance(
    annotation: dict[str, Any], image: CocoImage, through: geometry.Window, where: str, remedy: str
) -> Bool[np.ndarray, "h w"]:
    """Returns the mask of an object after the crop and the resize."""
    segmentation = annotation.get("segmentation")
    try:
        if isinstance(segmentation, dict):
            if list(segmentation["size"]) != [image.height, image.width]:
                raise ValueError(f"size {segmentation['size']}")
            return geometry.mask(run_lengths.decode(segmentation["counts"], image.height, image.width), through)
        outlines = [np.array(outline, float) for outline in segmentation or ()]
        if not outlines:
            raise ValueError("there is none")
        for outline in outlines:
            if outline.ndim != 1 or len(outline) < 6 or len(outline) % 2 or not np.isfinite(outline).all():
                raise ValueError(f"a polygon of the numbers {outline.tolist()}; want x, y of three points or more")
        return geometry.polygons([outline.reshape(-1, 2) for outline in outlines], through)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: an object of {image.name!r} has no segmentation of polygons or run lengths ({error}); {remedy}"
        ) from error
