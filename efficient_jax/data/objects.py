"""Maps boxes, masks and keypoints through the crop and the resize of their images."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
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


def inverse(through: Window, w: int, h: int) -> Window:
    """Returns the window from the square back to the original image: for the boxes and masks of predictions.

    `boxes(found, inverse(through, w, h))` are in pixels of the original image and clipped to it. A mask returns to the
    nearest pixel; say `outside` for what the square does not show.

    Args:
        through: the window of the image, as from `window`.
        w: width of the original image in pixels.
        h: height of the original image in pixels.
    """
    return Window(1 / through.scale, -through.offset / through.scale, (w, h))


def pixel_areas(sizes: Int[np.ndarray, "n 2"], framing: Framing) -> Float[np.ndarray, " n"]:
    """Returns the area of a pixel of each framed image, in pixels of the original image.

    Args:
        sizes: height and width of the original images in pixels.
        framing: crop and resize.
    """
    return np.array([1 / window(w, h, framing).scale.prod() for h, w in sizes.tolist()])


class Placements(NamedTuple):
    """Where n images as stored lie in the squares that the network sees."""

    edges: Int[np.ndarray, "n 4"]  # left, top, right, bottom of what is seen of each, in pixels of the square
    pixel_areas: Float[np.ndarray, " n"]  # area of a pixel of the square, in pixels as stored; NaN: not known


def placements(
    sizes: Int[np.ndarray, "n 2"] | None, count: int, shape: tuple[int, int], framing: Framing
) -> Placements:
    """Returns where images as stored lie in the squares that the network sees.

    Args:
        sizes: height and width of the images as stored, in pixels; None: not known.
        count: number of the images n.
        shape: height and width of the squares in pixels.
        framing: crop and resize; with size 0 the images are as stored.
    """
    h, w = shape
    if sizes is None or not framing.size:
        return Placements(np.tile([0, 0, w, h], (count, 1)), np.full(count, np.nan if framing.size else 1.0))
    placed = np.array([place(w, h, framing.size, framing.fit, framing.crop) for h, w in sizes.tolist()]).reshape(-1, 4)
    inside = np.concatenate([placed[:, 2:], placed[:, 2:] + placed[:, :2]], 1).clip(0, framing.size)
    return Placements(inside, pixel_areas(sizes, framing))


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


def mask(pixels: Shaped[np.ndarray, "*n h w"], through: Window, outside: int = 0) -> Shaped[np.ndarray, "*n h2 w2"]:
    """Returns a mask after the crop and the resize to the nearest pixel.

    Args:
        pixels: [*n h w], of any dtype.
        through: the window.
        outside: value outside the original image: 0 is the background, and in maps of classes 255 is no class.

    Returns: [*n h2 w2] of the same dtype.
    """
    (columns, column_inside), (rows, row_inside) = (
        _nearest(size, through.size[axis], through.scale[axis], through.offset[axis])
        for axis, size in enumerate(pixels.shape[:-3:-1])
    )
    nearest = pixels[..., rows[:, None], columns]
    return np.where(row_inside[:, None] & column_inside, nearest, np.array(outside, pixels.dtype))


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
    for name in {"mask", "box_mask", "object_map"} & objects.keys():
        moved[name] = mask(objects[name], through)
    if "boxes" in objects:
        moved["boxes"] = objects["boxes"] * np.tile(through.scale, 2).astype(np.float32)
    if "keypoints" in objects:
        moved["keypoints"] = ((objects["keypoints"] + 0.5) * through.scale - 0.5).astype(np.float32)
    return moved
