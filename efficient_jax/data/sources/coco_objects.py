"""The objects of COCO's annotations after the crop and the resize: boxes, masks, keypoints and maps of categories."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt16
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

KINDS = ("boxes", "box_mask", "object_map", "keypoints")

UNTOUCHED = -1  # value where nothing is drawn

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
    if "object_map" in kinds:
        arrays["object_map"] = object_maps(images, annotations, (height, width), framing)
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


def object_maps(
    images: Sequence[CocoImage],
    annotations: Sequence[Sequence[dict[str, Any]]],
    shape: tuple[int, int],
    framing: Framing,
) -> UInt16[np.ndarray, "n h w"]:
    """Returns which object each pixel shows: its index among the annotations plus 1; 0: none.

    Later annotations lie above earlier ones. Where one has no mask, the pixels of its box count.

    Args:
        images: with their sizes.
        annotations: of each image, without crowds.
        shape: height and width of the images after the resize, in pixels.
        framing: how images become one size.

    Raises: UserError for a mask that cannot be used.
    """
    maps = np.zeros((len(images), *shape), np.uint16)
    for made, image, of_image in zip(maps, images, annotations, strict=True):
        numbered = [(_with_outline(each), number) for number, each in enumerate(of_image, 1)]
        drawn = _drawn(numbered, image, framing, f"{WHERE}.objects", "leave out 'object_map'")
        if drawn is not None:
            made[:] = np.maximum(drawn, 0)
    return maps


def _with_outline(annotation: dict[str, Any]) -> dict[str, Any]:
    """Returns an annotation whose mask is its box if it has no other."""
    left, top, right, bottom = corners(annotation)
    outline = [left, top, right, top, right, bottom, left, bottom]
    return annotation if annotation.get("segmentation") else annotation | {"segmentation": [outline]}


def category_map(image: CocoImage, index_of: IndexOf, framing: Framing) -> UInt8[np.ndarray, "h w"]:
    """Returns the class of each pixel: 0 where there is no object, 255 on crowds and outside the original image.

    Later annotations lie above earlier ones.

    Args:
        image: with its annotations.
        index_of: the class of an annotation, 1 or more.
        framing: how images become one size.

    Raises: UserError for an object without a mask that can be used.
    """
    h, w = image.height, image.width
    pixels = geometry.mask(np.zeros((h, w), np.uint8), geometry.window(w, h, framing), NO_CLASS)
    values = [(each, NO_CLASS if each.get("iscrowd") else index_of(each)) for each in image.annotations]
    drawn = _drawn(values, image, framing, f"{WHERE}.path", "mend or remove it")
    return (
        pixels
        if drawn is None
        else np.where((drawn == UNTOUCHED) | (pixels == NO_CLASS), pixels, drawn).astype(np.uint8)
    )


def _drawn(
    values: Sequence[tuple[dict[str, Any], int]], image: CocoImage, framing: Framing, where: str, remedy: str
) -> Int[np.ndarray, "h w"] | None:
    """Returns annotations drawn in order, each in its value, after the crop and the resize; None without any."""
    h, w = image.height, image.width
    through, pixels = geometry.window(w, h, framing), None
    for in_runs, group in itertools.groupby(values, lambda pair: _in_runs(pair[0])):
        pixels = np.full(through.size[::-1], UNTOUCHED, np.int32) if pixels is None else pixels
        if in_runs:  # all are drawn at their own size and framed once: ten times faster than one by one
            drawn = np.full(h * w, UNTOUCHED, np.int32)
            for annotation, value in group:
                with _said(image, where, remedy):
                    for start, end in run_lengths.spans(_counts(annotation, image), h, w):
                        drawn[start:end] = value
            framed = geometry.mask(drawn.reshape(w, h).T, through, UNTOUCHED)
            pixels = np.where(framed == UNTOUCHED, pixels, framed)
        else:
            for annotation, value in group:
                pixels[_instance(annotation, image, through, where, remedy)] = value
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
    with _said(image, where, remedy):
        if _in_runs(annotation):
            counts = _counts(annotation, image)
            return geometry.mask(run_lengths.decode(counts, image.height, image.width), through)
        outlines = [np.array(outline, float) for outline in annotation.get("segmentation") or ()]
        if not outlines:
            raise ValueError("there is none")
        for outline in outlines:
            if outline.ndim != 1 or len(outline) < 6 or len(outline) % 2 or not np.isfinite(outline).all():
                raise ValueError(f"a polygon of the numbers {outline.tolist()}; want x, y of three points or more")
        return geometry.polygons([outline.reshape(-1, 2) for outline in outlines], through)


def _in_runs(annotation: Mapping[str, Any]) -> bool:
    return isinstance(annotation.get("segmentation"), dict)


def _counts(annotation: Mapping[str, Any], image: CocoImage) -> Any:
    segmentation = annotation["segmentation"]
    if list(segmentation["size"]) != [image.height, image.width]:
        raise ValueError(f"size {segmentation['size']}")
    return segmentation["counts"]


@contextlib.contextmanager
def _said(image: CocoImage, where: str, remedy: str) -> Iterator[None]:
    """Turns what is wrong with the mask of an object into a UserError."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: an object of {image.name!r} has no segmentation of polygons or run lengths ({error}); {remedy}"
        ) from error
