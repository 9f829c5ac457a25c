"""One picture of every operation, for a README: a cell each, its default on the left and its strongest on the right."""

import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from efficient_jax import files
from efficient_jax.report import plots, sheets

NAME = "operations.webp"
SIDE, GAP, ACROSS = 80, 10, 5  # pixels of an image and between cells, and cells in a row
TEXT, LINE, HEADING = 11, 15, 30  # pixels of the names, of their line, and of the line of a kind
INK, PAPER, SOFT = (32, 32, 36), (255, 255, 255), (90, 90, 98)
QUALITY = 72  # of WebP: the picture stays below 300 kB
DESCRIPTION = 0x010E  # the EXIF tag


def write(folder: pathlib.Path, operations: Mapping[str, Mapping[str, sheets.Sheet]]) -> pathlib.Path:
    """Writes `folder/operations.webp`, whose description (EXIF) has the names of the operations; returns its path.

    Args:
        folder: where to write; an existing file is replaced.
        operations: kind of operation -> operation -> heading -> examples; the first heading is without the operation.
    """
    picture = Image.fromarray(drawn(operations))
    exif = Image.Exif()
    exif[DESCRIPTION] = ",".join(name for of_kind in operations.values() for name in of_kind)
    path = folder / NAME
    with files.whole(path) as file:
        picture.save(file, "webp", quality=QUALITY, method=6, exif=exif)
    return path


def names(path: pathlib.Path) -> list[str]:
    """Returns the names of the operations on a picture, as its description says.

    Args:
        path: a file that `write` wrote.
    """
    with Image.open(path) as picture:
        return str(picture.getexif()[DESCRIPTION]).split(",")


def drawn(operations: Mapping[str, Mapping[str, sheets.Sheet]]) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the picture: a heading for each kind, below it cells from left to right.

    Args:
        operations: as for `write`.
    """
    cell, row = 2 * SIDE + 2 + GAP, LINE + SIDE + GAP
    heights = [HEADING + row * -(-len(of_kind) // ACROSS) for of_kind in operations.values()]
    canvas = Image.new("RGB", (GAP + ACROSS * cell, sum(heights) + GAP), PAPER)
    draw, fonts = ImageDraw.Draw(canvas), [ImageFont.load_default(size) for size in (TEXT, TEXT + 3)]
    top = 0
    for (kind, of_kind), height in zip(operations.items(), heights, strict=True):
        draw.text((GAP, top + GAP), kind.capitalize(), INK, fonts[1])
        for number, (name, sheet) in enumerate(of_kind.items()):
            x, y = GAP + number % ACROSS * cell, top + HEADING + number // ACROSS * row
            draw.text((x, y), name, SOFT, fonts[0])
            for column, tile in enumerate(_tiles(sheet)):
                canvas.paste(Image.fromarray(tile), (x + column * (SIDE + 2), y + LINE))
        top += height
    return np.asarray(canvas)


def _tiles(sheet: sheets.Sheet) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Returns what the forms make of one of the even examples, the one that the strongest form changes typically."""
    stored, *forms = sheet.values()
    example = 0
    if forms[-1]["image"].shape == stored["image"].shape:
        difference = np.abs(forms[-1]["image"].astype(int) - stored["image"])[::2].mean((1, 2, 3))
        example = 2 * int(np.argsort(difference, kind="stable")[len(difference) // 2])
    return [_tile({name: values[example] for name, values in form.items()}) for form in forms]


def _tile(example: sheets.Example) -> UInt8[np.ndarray, "h w 3"]:
    shown = example if "mask" in example else {"image": example["image"]}  # boxes would hide the lines of a page
    factor = (2 if "mask" in example else 1) * SIDE // max(example["image"].shape[:2])
    return plots.rgb(sheets.tile(shown, max(1, factor)), SIDE)
