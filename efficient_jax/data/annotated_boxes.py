"""Boxes as annotators wrote them: checked, clipped to their images, and framed with them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.data import objects
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError, counted, few

NAMED = 5  # most boxes that a message lists


class Annotated(NamedTuple):
    """The boxes of one image that can be used."""

    corners: Float[np.ndarray, "m 4"]  # (left, top, right, bottom), in the unit of `size`
    labels: Int[np.ndarray, " m"]  # index of each object's class
    size: tuple[float, float]  # width and height of the image in the unit of `corners`


NO_BOXES = Annotated(np.zeros((0, 4)), np.zeros(0, np.int32), (1.0, 1.0))


def fault(corners: Sequence[float], size: tuple[float, float]) -> str:
    """Returns why a box cannot be used; "" where it can.

    Args:
        corners: left, top, right, bottom, in the unit of `size`.
        size: width and height of the image.
    """
    left, top, right, bottom = corners
    if not np.isfinite(corners).all():
        return "its numbers are not finite"
    if right <= left or bottom <= top:
        return "it has no area"
    if right <= 0 or bottom <= 0 or left >= size[0] or top >= size[1]:
        return "it is outside of the image"
    return ""


def clipped(corners: Sequence[Sequence[float]], labels: Sequence[int], size: tuple[float, float]) -> Annotated:
    """Returns boxes clipped to their image.

    Args:
        corners: left, top, right, bottom of each box that has no `fault`.
        labels: index of each object's class.
        size: width and height of the image, in the unit of `corners`.
    """
    boxes = np.clip(np.array(corners, float).reshape(-1, 4), 0, [*size, *size])
    return Annotated(boxes, np.array(labels, np.int32), size)


def left_out(faults: Sequence[str], most: int, where: str) -> tuple[str, ...]:
    """Returns a note on the boxes that cannot be used; none where there are none.

    Args:
        faults: the place and the fault of each.
        most: how many there may be, 0 or more.
        where: the setting that names the annotations, for messages.

    Raises: UserError for more than `most`.
    """
    if not faults:
        return ()
    listed = f"{counted(len(faults), 'box', 'boxes')} that cannot be used: {few(list(faults), NAMED)}"
    if len(faults) > most:
        raise UserError(
            f"{where}: {listed}; mend or remove them, or leave out up to so many with config.data.source.bad_boxes"
        )
    return (f"left out {listed}",)


def presence(images: Sequence[Annotated | None], classes: int) -> Int[np.ndarray, "n k"]:
    """Returns which classes the images show, int32 [n k]: 0 or 1, and -1 for images that are not annotated.

    Args:
        images: the boxes of each image; None: not annotated.
        classes: number of classes k.
    """
    labels = np.zeros((len(images), classes), np.int32)
    for row, image in zip(labels, images, strict=True):
        row[slice(None) if image is None else image.labels] = -1 if image is None else 1
    return labels


def framed(
    images: Sequence[Annotated | None], sizes: Int[np.ndarray, "n 2"], framing: Framing, most: int
) -> dict[str, np.ndarray]:
    """Returns the boxes after the crop and the resize of their images.

    Args:
        images: the boxes of each image; None: not annotated.
        sizes: height and width of each image before the resize, in pixels.
        framing: how images become one size.
        most: number of objects of an image that are kept, the largest ones; 0: all.

    Returns: `boxes` float32 [n rows 4], `box_visible` float32 [n rows] and `box_label` int32 [n rows], -1 where there
    is no object. There are as many rows as the image with the most objects needs.
    """
    kept = [largest(image or NO_BOXES, most) for image in images]
    shape = len(kept), max((len(image.labels) for image in kept), default=0)
    arrays = {
        "boxes": np.zeros((*shape, 4), np.float32),
        "box_visible": np.zeros(shape, np.float32),
        "box_label": np.full(shape, -1, np.int32),
    }
    for i, (image, (h, w)) in enumerate(zip(kept, sizes.tolist(), strict=True)):
        n, through = len(image.labels), objects.window(w, h, framing)
        corners = image.corners * np.tile([w / image.size[0], h / image.size[1]], 2)
        arrays["boxes"][i, :n], arrays["box_visible"][i, :n] = objects.boxes(corners, through)
        arrays["box_label"][i, :n] = image.labels
    return arrays


def largest(image: Annotated, most: int) -> Annotated:
    """Returns the `most` largest boxes of an image, in their order.

    Args:
        image: its boxes.
        most: number of boxes; 0: all.
    """
    area = (image.corners[:, 2:] - image.corners[:, :2]).prod(1)
    kept = np.sort(np.argsort(-area, kind="stable")[: most or None])
    return image._replace(corners=image.corners[kept], labels=image.labels[kept])
