"""Maps boxes, masks and keypoints through the crop and the resize of their images."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from PIL import Image, ImageDraw

from efficient_jax.data.framing import Framing, place
from efficient_jax.detection.overlap import area

FINER = 4  # polygons are drawn at 4 times the size: Pillow's are half a pixel too wide on every side


class Window(NamedTuple):
    """What is seen of an image: its point x, from the upper left corner, is at `scale * x + offset`."""

    scale: Float[np.ndarray, " 2"]  # along x and y
    offset: Float[np.ndarray, " 2"]
    size: tuple[int, int]  # width, height of the result, in pixels


def window(w: int, h: int, framing: Framing) -> Window:
    """Returns the window of an image that `framing.fit` crops and resizes.

    Args:
        w: width of the image in pixels.
        h: height of the image in pixels.
        framing: crop and resize; with size 0 the image stays as it is.
    """
    if not framing.size:
        return Window(np.ones(2), np.zeros(2), (w, h))
    width, height, left, top = place(w, h, framing.size, framing.fit, framing.crop)
    return Window(np.array([width / w, height / h]), np.array([left, top], float), (framing.size, framing.size))


def boxes(
    corners: Float[np.ndarray, "n 4"], through: Window
) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, " n"]]:
    """Returns boxes after the crop and the resize, and the visible share of each.

    Args:
        corners: float [n 4], (left, top, right, bottom) in pixels of the original image.
        through: the window.

    Returns: (`boxes` float32 [n 4], `box_visible` float32 [n] in 0..1), see `types.Example`.
    """
    moved = corners * np.tile(through.scale, 2) + np.tile(through.offset, 2)
    clipped = np.clip(moved, 0, np.tile(through.size, 2))
    visible = area(clipped) / np.maximum(area(moved), 1e-9)
    return np.where(visible[:, None] > 0, clipped, 0).astype(np.float32), visible.astype(np.float32)


def keypoints(
    points: Float[np.ndarray, "k 2"], visible: Shaped[np.ndarray, " k"], through: Window
) -> tuple[Float[np.ndarray, "k 2"], Bool[np.ndarray, " k"]]:
    """Returns keypoints after the crop and the resize, and which of them are visible.

    Args:
        points: float [k 2], (x, y) in pixels from the center of the upper left pixel of the original image.
        visible: [k], above 0 where there is a point: bool, COCO's 0, 1 and 2, or float.
        through: the window.

    Returns: (`keypoints` float32 [k 2], `keypoint_visible` bool [k]), see `types.Example`.
    """
    moved = (points + 0.5) * through.scale + through.offset - 0.5
    inside = ((moved >= -0.5) & (moved < np.array(through.size) - 0.5)).all(1)
    return moved.astype(np.float32), (visible > 0) & inside


def mask(pixels: Shaped[np.ndarray, "*n h w"], through: Window) -> Shaped[np.ndarray, "*n h2 w2"]:
    """Returns a mask after the crop and the resize to the nearest pixel, 0 outside the original image.

    Args:
        pixels: [*n h w], of any dtype.
        through: the window.

    Returns: [*n h2 w2] of the same dtype.
    """
    (columns, column_inside), (rows, row_inside) = (
        _nearest(size, through.size[axis], through.scale[axis], through.offset[axis])
        for axis, size in enumerate(pixels.shape[:-3:-1])
    )
    nearest = pixels[..., rows[:, None], columns]
    return np.where(row_inside[:, None] & column_inside, nearest, np.zeros((), pixels.dtype))


def _nearest(size: int, wanted: int, scale: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns (the source pixel of each of `wanted` pixels, whether it is inside the image)."""
    pixel = np.floor((np.arange(wanted) + 0.5 - offset) / scale).astype(int)
    return pixel.clip(0, size - 1), (pixel >= 0) & (pixel < size)


def polygons(outlines: Sequence[Float[np.ndarray, "p 2"]], through: Window) -> Bool[np.ndarray, "h2 w2"]:
    """Returns a mask bool [h2 w2] of the pixels of which polygons cover more than half, after the crop and the resize.

    Args:
        outlines: float [p 2] each, (x, y) of the corners in pixels of the original image; their union counts.
        through: the window.
    """
    width, height = through.size
    drawing = Image.new("L", (FINER * width, FINER * height))
    for outline in outlines:
        points = FINER * (outline * through.scale + through.offset) - 0.5
        ImageDraw.Draw(drawing).polygon([tuple(point) for point in points], fill=255)
    return np.asarray(drawing.reduce(FINER)) > 128


def runs(counts: Sequence[int] | str, h: int, w: int) -> Bool[np.ndarray, "h w"]:
    """Returns the mask bool [h w] of COCO's run lengths.

    Args:
        counts: lengths of the runs of 0, of 1, of 0, ... down the columns; or COCO's text of them (`_unpacked`).
        h: height in pixels.
        w: width in pixels.

    Raises: ValueError where the lengths do not sum up to h x w pixels.
    """
    lengths = _unpacked(counts) if isinstance(counts, str) else list(counts)
    if any(length < 0 for length in lengths) or sum(lengths) != h * w:
        raise ValueError(f"run lengths of {sum(lengths):,} pixels for {w} x {h}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(w, h).T


def _unpacked(text: str) -> list[int]:
    """Returns the run lengths of COCO's text: five bits a character, the lowest first; bit 5: more follow; bit 4 of the
    last: the sign. From the third length on, it is the difference to the one before the last.
    """
    lengths: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (bits & 16) and 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value, shift = 0, 0
    return lengths


def resized(objects: Mapping[str, np.ndarray], w: int, h: int, size: int) -> dict[str, np.ndarray]:
    """Returns the objects of images that are resized to squares.

    Args:
        objects: name -> array [n ...], see `types.Example`.
        w: width of the images in pixels.
        h: height of the images in pixels.
        size: side of the squares in pixels; 0: as they are.
    """
    if not size or (w, h) == (size, size):
        return dict(objects)
    through = window(w, h, Framing(size, "squash"))
    moved = dict(objects)
    for name in {"mask", "box_mask"} & objects.keys():
        moved[name] = mask(objects[name], through)
    if "boxes" in objects:
        moved["boxes"] = objects["boxes"] * np.tile(through.scale, 2).astype(np.float32)
    if "keypoints" in objects:
        moved["keypoints"] = ((objects["keypoints"] + 0.5) * through.scale - 0.5).astype(np.float32)
    return moved
