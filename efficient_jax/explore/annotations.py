"""Statistics of masks and boxes: what annotated images show, how large it is, and which pixels have no class."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8
from scipy import ndimage

from efficient_jax.data.class_names import NO_CLASS
from efficient_jax.data.dataset import Source
from efficient_jax.data.objects import Placements
from efficient_jax.detection import overlap
from efficient_jax.metrics.segmentation import background
from efficient_jax.tasks import TASKS

TOGETHER = np.ones((3, 3), bool)  # neighbors of a pixel that are connected with it, those at its corners too


class Parts(NamedTuple):
    """The m objects of n images; in maps of classes without objects a part is a region: connected pixels of a class."""

    images: Int[np.ndarray, " m"]  # row of its image
    labels: Int[np.ndarray, " m"]  # class index
    sides: Float[np.ndarray, "m 2"]  # width and height of its box, in pixels of the square that the network sees
    areas: Float[np.ndarray, " m"]  # in pixels of this square: of its pixels, or of its box
    stored: Float[np.ndarray, " m"]  # in pixels of the image as stored; NaN where the size of that is not known
    at_border: Bool[np.ndarray, " m"]  # whether it ends at the border of the image, or is cut


class Annotations(NamedTuple):
    """What the annotations of n images show."""

    images: Int[np.ndarray, " n"]  # indices of the images
    held_out: Bool[np.ndarray, " n"]  # whether each is for validation or test
    unit: str  # what a part is: "object" or "region"
    parts: Parts
    pixels: Int[np.ndarray, "n k"] | None  # pixels of each class; None where there are boxes
    ignored: Int[np.ndarray, " n"] | None  # pixels of the image that have no class; None where there are boxes

    @property
    def counts(self) -> Int[np.ndarray, " n"]:
        """The number of parts of each image."""
        counts: np.ndarray = np.bincount(self.parts.images, minlength=len(self.images))
        return counts

    def training(self) -> "Annotations":
        """Returns those of the images that are not held out."""
        kept = ~self.held_out
        rows = np.cumsum(kept) - 1
        chosen = kept[self.parts.images]
        parts = Parts(*(values[chosen] for values in self.parts))
        pixels, ignored = (None if values is None else values[kept] for values in (self.pixels, self.ignored))
        return Annotations(
            self.images[kept],
            self.held_out[kept],
            self.unit,
            parts._replace(images=rows[parts.images]),
            pixels,
            ignored,
        )


def annotated(source: Source, ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Returns those of some images that have a known label, or an object beside a label of the whole image.

    Args:
        source: the dataset.
        ids: indices of images.
    """
    task = TASKS[source.task]
    known = task.known(source.labels[ids])
    if task.by_image and "box_visible" in source.objects:
        known = known | (source.objects["box_visible"][ids] > 0).any(1)
    some: np.ndarray = ids[known]
    return some


def annotations(
    source: Source, ids: Int[np.ndarray, " n"], held_out: Bool[np.ndarray, " n"], inside: Placements
) -> Annotations | None:
    """Measures the annotations of images.

    Args:
        source: the dataset.
        ids: indices of images with annotations.
        held_out: whether each is for validation or test.
        inside: of these images, as from `data.objects.placements`.

    Returns: the measurements; None for a dataset with neither masks nor boxes.
    """
    if TASKS[source.task].decoder == "masks":
        maps, classes = source.labels[ids], len(source.classes)
        pixels = np.stack([np.bincount(each.ravel(), minlength=NO_CLASS + 1) for each in maps]).reshape(
            -1, NO_CLASS + 1
        )
        left, top, right, bottom = inside.edges.T
        outside = maps[0].size - (right - left) * (bottom - top) if len(maps) else 0
        ignored = np.maximum(pixels[:, NO_CLASS] - outside, 0)
        numbers = source.objects["object_map"][ids] if "object_map" in source.objects else None
        parts = of_maps(maps, background(source.classes), inside, numbers)
        unit = "region" if numbers is None else "object"
        return Annotations(ids, held_out, unit, parts, pixels[:, :classes], ignored)
    if "boxes" not in source.objects:
        return None
    boxes, visible = (source.objects[name][ids] for name in ("boxes", "box_visible"))
    labels = source.objects["box_label"][ids] if "box_label" in source.objects else np.zeros(visible.shape, int)
    return Annotations(ids, held_out, "object", of_boxes(boxes, visible, labels, inside), None, None)


def of_boxes(
    boxes: Float[np.ndarray, "n most 4"],
    visible: Float[np.ndarray, "n most"],
    labels: Int[np.ndarray, "n most"],
    inside: Placements,
) -> Parts:
    """Returns the objects that have boxes.

    Args:
        boxes: left, top, right, bottom in pixels of the square.
        visible: visible share of each box in 0..1, 0 for padding.
        labels: class index of each.
        inside: of these images.
    """
    present = visible > 0
    images = np.nonzero(present)[0]
    sides, areas = (boxes[..., 2:] - boxes[..., :2])[present], overlap.area(boxes)[present].astype(float)
    stored = areas / visible[present] * inside.pixel_areas[images]
    at_border = (overlap.touching(boxes, inside.edges[:, None]) | (visible < overlap.WHOLE))[present]
    return Parts(images, labels[present], sides.astype(float), areas, stored, at_border)


def of_maps(
    maps: UInt8[np.ndarray, "n h w"],
    bare: list[bool],
    inside: Placements,
    numbers: Integer[np.ndarray, "n h w"] | None = None,
) -> Parts:
    """Returns the objects of class maps, or their regions.

    Args:
        maps: class index of each pixel, 255 where it has none.
        bare: which classes are the background, in which nothing is counted.
        inside: of these images.
        numbers: number of the object that each pixel shows, 0 for none, as `object_map` of `types.Example`; None: they
            are not known.
    """
    if numbers is None:
        parts = [_regions_of(pixels, bare) for pixels in maps]
    else:
        parts = [_objects_of(pixels, numbered, bare) for pixels, numbered in zip(maps, numbers, strict=True)]
    found = [(i, *part) for i, of_image in enumerate(parts) for part in of_image]
    images, labels, left, top, right, bottom, areas = np.array(found, int).reshape(-1, 7).T
    edges = np.stack([left, top, right, bottom], 1)
    at_border = (edges == inside.edges[images]).any(1)
    stored = areas * inside.pixel_areas[images]
    return Parts(images, labels, (edges[:, 2:] - edges[:, :2]).astype(float), areas.astype(float), stored, at_border)


def _regions_of(pixels: UInt8[np.ndarray, "h w"], bare: list[bool]) -> list[tuple[int, ...]]:
    """Returns (class, left, top, right, bottom, pixels) of each region of one map."""
    found: list[tuple[int, ...]] = []
    for label in np.unique(pixels).tolist():
        if label != NO_CLASS and not bare[label]:
            numbered, _ = ndimage.label(pixels == label, TOGETHER)
            found += _objects_of(np.full_like(pixels, label), numbered, bare)
    return found


def _objects_of(
    pixels: UInt8[np.ndarray, "h w"], numbers: Integer[np.ndarray, "h w"], bare: list[bool]
) -> list[tuple[int, ...]]:
    """Returns (class, left, top, right, bottom, pixels) of each numbered object of one map."""
    found: list[tuple[int, ...]] = []
    for number, window in enumerate(ndimage.find_objects(numbers.astype(np.int32)), 1):
        if window is None:  # the crop has cut it off
            continue
        labels = pixels[window][numbers[window] == number]
        label = int(np.bincount(labels).argmax())
        if label != NO_CLASS and not bare[label]:
            rows, columns = window
            found.append((label, columns.start, rows.start, columns.stop, rows.stop, len(labels)))
    return found
