"""Images of the pages as data URIs, and confusion matrices as counts.

What lies between and beside the images of a sheet is transparent, so that a sheet suits a light and a dark page.
"""

import base64
import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

# Okabe and Ito's palette, told apart with any color vision; yellow is too faint for a line on white.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
TILE = 96  # pixels: larger images are shrunk
SHEET_COLUMNS, SHEET_VIEWS = 10, 8
SHEET_GAP = 4  # pixels between the first image of a column and those below
PIXEL_ART = 32  # pixels: images up to this are enlarged, and stored without loss
QUALITY = 85  # of WebP: a tenth of the size of a PNG of a photograph


class EmbeddedImage(NamedTuple):
    """A data URI and the size in CSS pixels at which to show it."""

    src: str
    width: int
    height: int


class Captioned(NamedTuple):
    """A picture and the lines below it."""

    image: EmbeddedImage
    lines: list[str]


def encoded(image: UInt8[np.ndarray, "h w c"], scale: int = 1, lossless: bool = True) -> EmbeddedImage:
    """Returns an image as PNG or WebP; the browser scales it up (`image-rendering: pixelated`).

    Args:
        image: RGB, or RGB and opacity.
        scale: CSS pixels per image pixel, 1 or more.
        lossless: PNG; otherwise WebP.
    """
    buffer, kind = io.BytesIO(), "png" if lossless else "webp"
    Image.fromarray(image).save(buffer, kind, **({} if lossless else {"quality": QUALITY}))
    data = base64.b64encode(buffer.getvalue()).decode()
    height, width = image.shape[:2]
    return EmbeddedImage(f"data:image/{kind};base64,{data}", width * scale, height * scale)


def rgb(image: UInt8[np.ndarray, "h w c"], side: int = TILE) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Returns an image with three channels, shrunk so that no side exceeds `side`.

    Args:
        image: fewer than three channels: the first is repeated; more: the first three are kept.
        side: pixels, 1 or more.
    """
    image = image[..., :3] if image.shape[-1] >= 3 else image[..., :1].repeat(3, axis=-1)
    if max(image.shape) <= side:
        return image
    thumbnail = Image.fromarray(np.ascontiguousarray(image))
    thumbnail.thumbnail((side, side))
    return np.asarray(thumbnail)


def arranged(tiles: Iterable[UInt8[np.ndarray, "h w 3"]], gaps: Iterable[int], below: bool = False) -> np.ndarray:
    """Returns images beside or below each other, uint8 [h w 4]; transparent where there is no image.

    Args:
        tiles: one or more, of any sizes.
        gaps: pixels before each.
        below: below instead of beside each other.
    """
    placed, at = [], 0
    for tile, gap in zip(tiles, gaps, strict=False):
        placed.append((at + gap, tile))
        at += gap + tile.shape[0 if below else 1]
    across = max(tile.shape[1 if below else 0] for _, tile in placed)
    sheet = np.zeros((at, across, 4) if below else (across, at, 4), np.uint8)
    for start, tile in placed:
        height, width = tile.shape[:2]
        y, x = (start, 0) if below else (0, start)
        sheet[y : y + height, x : x + width, :3], sheet[y : y + height, x : x + width, 3] = tile, 255
    return sheet


def strip(images: Iterable[UInt8[np.ndarray, "h w c"]], side: int = TILE) -> EmbeddedImage:
    """Returns images side by side.

    Args:
        images: one or more, of any sizes and channels.
        side: largest side of an image in the strip, pixels.
    """
    tiles = [rgb(image, side) for image in images]
    largest = max(max(tile.shape[:2]) for tile in tiles)
    small = largest <= PIXEL_ART
    return encoded(arranged(tiles, [0, *[2] * (len(tiles) - 1)]), max(1, side // largest) if small else 1, small)


def contact_sheet(
    raw: UInt8[np.ndarray, "n h w c"], views: UInt8[np.ndarray, "n m h2 w2 c"]
) -> tuple[list[EmbeddedImage], bool]:
    """Returns a column per image, as stored on top and its augmented versions below.

    Args:
        raw: images as stored, of which `SHEET_COLUMNS` are shown.
        views: m augmented versions of each, of which `SHEET_VIEWS` are shown.

    Returns:
        (the columns, whether there are versions that differ from the image as stored).
    """
    if changed := views.shape[2:] != raw.shape[1:] or bool((views != raw[:, None]).any()):
        alike = bool((views == views[:, :1]).all())
        views = views[:, : 1 if alike else SHEET_VIEWS]
    else:
        views = views[:, :0]
    columns = [
        [rgb(image), *map(rgb, versions)]
        for image, versions in zip(raw[:SHEET_COLUMNS], views[:SHEET_COLUMNS], strict=True)
    ]
    largest = max(max(tile.shape[:2]) for column in columns for tile in column)
    small = largest <= PIXEL_ART
    gaps = [0, SHEET_GAP // 2 if small else SHEET_GAP, *[1] * SHEET_VIEWS]
    scale = max(1, TILE // largest) if small else 1
    return [encoded(arranged(column, gaps, below=True), scale, small) for column in columns], changed


def single(image: UInt8[np.ndarray, "h w c"]) -> EmbeddedImage:
    """Returns one image, its longer side scaled to about `TILE` pixels.

    Args:
        image: any number of channels, see `rgb`.
    """
    return strip([image])


def confusion(label: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], classes: int) -> Int[np.ndarray, "k k"]:
    """Returns the confusion matrix: counts of images, rows true, columns predicted.

    Args:
        label: true classes, 0 .. `classes` - 1.
        predicted: predicted classes, 0 .. `classes` - 1.
        classes: number of classes k.
    """
    return np.bincount(label * classes + predicted, minlength=classes**2).reshape(classes, classes)


def shade(counts: Int[np.ndarray, "k k"]) -> Float[np.ndarray, "k k"]:
    """Returns the color depth of each cell of a confusion matrix, 0..1.

    The depth is the square root of the share of the row: a few mistakes stay visible beside many correct predictions.

    Args:
        counts: as from `confusion`.
    """
    depth: np.ndarray = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    return depth


def heat_map(counts: Int[np.ndarray, "k k"]) -> EmbeddedImage:
    """Returns a confusion matrix as an image: correct predictions blue, mistakes orange, transparent where empty.

    Args:
        counts: as from `confusion`.
    """
    right = np.eye(len(counts), dtype=bool)[..., None]
    color = np.where(right, np.array([0x2B, 0x8C, 0xD0]), np.array([0xE0, 0x6C, 0x1E]))
    cells = np.concatenate([color, 255 * shade(counts)[..., None]], axis=-1)
    return encoded(cells.round().astype(np.uint8), max(1, 480 // len(counts)))


def most_confused(counts: Int[np.ndarray, "k k"], pairs: int = 12) -> list[tuple[int, int, int]]:
    """Returns (true class, predicted class, number of images) of the most frequent mistakes, most frequent first.

    Args:
        counts: as from `confusion`.
        pairs: how many at most, 1 or more.
    """
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:pairs]
    most = [(int(i // len(counts)), int(i % len(counts)), int(wrong.flat[i])) for i in order]
    return [pair for pair in most if pair[2]]
