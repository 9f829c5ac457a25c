"""Graphics of the pages: curves as SVG and images as PNG or JPEG (all data URIs), confusion matrices as counts.

Bars and the small confusion matrix are laid out in HTML, where text stays text: a class name needs no font
of matplotlib's, wraps on a phone, and costs no drawing time.
"""

import base64
import io
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's palette, told apart with any color vision; yellow is too faint for a line on white.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
STYLES = ["-", "--", "-.", ":"]
TILE = 96  # pixels: larger images are shrunk
SHEET_WIDTH, SHEET_VIEWS = 1000, 8
CURVE_POINTS = 300
PIXEL_ART = 32  # pixels: images up to this are enlarged, and no JPEG
# Text stays text and is not mathtext ("$" in a name); the browser has the glyphs that matplotlib lacks.
SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "report", "text.parse_math": False, "font.size": 11}


class Picture(NamedTuple):
    """A data URI and the size in CSS pixels at which to show it."""

    src: str
    width: int
    height: int


def data_uri(media: str, data: bytes) -> str:
    """Returns a base64 data URI.

    Args:
        media: media type, such as "image/png".
        data: content of the file.
    """
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def png(image: UInt8[np.ndarray, "h w 3"], scale: int = 1) -> Picture:
    """Returns an image as PNG; the browser scales it up (`image-rendering: pixelated`), so the file stays small.

    Args:
        image: RGB.
        scale: CSS pixels per image pixel, 1 or more.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    height, width = image.shape[:2]
    return Picture(data_uri("image/png", buffer.getvalue()), width * scale, height * scale)


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


def strip(images: Iterable[UInt8[np.ndarray, "h w c"]], side: int = TILE) -> Picture:
    """Returns images side by side: above `PIXEL_ART` pixels a JPEG, which takes an eighth of a PNG, else a PNG.

    Args:
        images: one or more, of any sizes and channels.
        side: largest side of an image in the strip, pixels.
    """
    tiles = [rgb(image, side) for image in images]
    height, width = np.max([tile.shape[:2] for tile in tiles], axis=0)
    sheet = np.full((height, len(tiles) * (width + 2) - 2, 3), 255, np.uint8)
    for x, tile in enumerate(tiles):
        sheet[: tile.shape[0], x * (width + 2) : x * (width + 2) + tile.shape[1]] = tile
    if max(height, width) <= PIXEL_ART:
        return png(sheet, max(1, side // max(height, width)))
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "jpeg", quality=85)
    return Picture(data_uri("image/jpeg", buffer.getvalue()), sheet.shape[1], sheet.shape[0])


def histogram(values: Float[np.ndarray, " n"], others: Float[np.ndarray, " m"], label: str) -> str:
    """Plots the distribution of `values` as bars and of `others` as a line, over the middle 99% of both.

    Args:
        values: one or more; NaN and infinity do not count.
        others: may be empty.
        label: label of the horizontal axis.

    Returns:
        An SVG as a data URI.
    """
    both = np.concatenate([values, others])
    low, high = np.quantile(both[np.isfinite(both)], (0.005, 0.995))
    edges = np.linspace(low, high if high > low else low + 1, 41)

    def shares(values: np.ndarray) -> np.ndarray:
        return np.histogram(values, edges)[0] / len(values)

    with matplotlib.rc_context(SVG):
        figure = Figure(figsize=(4.2, 1.7))
        axes = figure.add_axes((0.03, 0.3, 0.94, 0.66))
        axes.stairs(shares(values), edges, fill=True, color=COLORS[0])
        if len(others):
            axes.stairs(shares(others), edges, color=COLORS[1], linewidth=1.4)
        axes.set_yticks([])
        axes.set_xlabel(label)
        axes.spines[["top", "right", "left"]].set_visible(False)
        return svg(figure)


def contact_sheet(raw: UInt8[np.ndarray, "n h w c"], views: UInt8[np.ndarray, "n m h2 w2 c"]) -> Picture:
    """Returns a sheet with a column per image: as stored on top, its augmented versions below.

    Args:
        raw: images as stored; as many are shown as fit into `SHEET_WIDTH` pixels.
        views: m augmented versions of each, of which `SHEET_VIEWS` are shown.
    """
    columns = [[rgb(image), *map(rgb, versions[:SHEET_VIEWS])] for image, versions in zip(raw, views, strict=True)]
    height, width = np.max([tile.shape[:2] for column in columns for tile in column], axis=0)
    scale = max(1, TILE // max(height, width))
    columns = columns[: max(1, SHEET_WIDTH // ((width + 1) * scale))]
    rows = len(columns[0])
    top = 3  # pixels between the first row and those below
    sheet = np.full((rows * (height + 1) - 1 + top, len(columns) * (width + 1) - 1, 3), 255, np.uint8)
    for x, column in enumerate(columns):
        for y, tile in enumerate(column):
            y0, x0 = y * (height + 1) + top * (y > 0), x * (width + 1)
            sheet[y0 : y0 + tile.shape[0], x0 : x0 + tile.shape[1]] = tile
    return png(sheet, scale)


def single(image: UInt8[np.ndarray, "h w c"]) -> Picture:
    """Returns one image as PNG, its longer side scaled to about `TILE` pixels.

    Args:
        image: any number of channels, see `rgb`.
    """
    image = rgb(image)
    return png(image, max(1, TILE // max(image.shape[:2])))


def smooth(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " points"]:
    """Returns means of consecutive values, at most `CURVE_POINTS` of them.

    Args:
        values: one or more.
    """
    return np.array([part.mean() for part in np.array_split(values, min(len(values), CURVE_POINTS))])


def learning_curves(curves: dict[str, dict[str, np.ndarray]], metric: str) -> str | None:
    """Plots a metric against steps, a line per stage.

    Args:
        curves: stage -> its metrics by name, with "step", as `results.read_metrics` returns them.
        metric: name of the metric.

    Returns:
        An SVG as a data URI; None if no stage logged the metric.
    """
    logged = {name: m for name, m in curves.items() if metric in m and np.isfinite(m[metric]).any()}
    if not logged:
        return None
    with matplotlib.rc_context(SVG), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(5.4, 3.4))
        axes = figure.add_axes((0.12, 0.15, 0.86, 0.82))
        for i, stage in enumerate(curves):  # the same color in every figure
            if stage in logged:
                values = smooth(logged[stage][metric])
                (line,) = axes.plot(smooth(logged[stage]["step"]), values, label=stage)
                line.set(color=COLORS[i % len(COLORS)], linestyle=STYLES[i % len(STYLES)])
                if np.isfinite(values).sum() == 1:  # a line of one point is invisible
                    line.set_marker("o")
        axes.set_xlabel("steps")
        axes.grid(color="#e4e4e4", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        return svg(figure)


def svg(figure: Figure) -> str:
    """Returns a figure as an SVG data URI, without a date.

    Args:
        figure: not bound to a window.
    """
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return data_uri("image/svg+xml", buffer.getvalue())


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


def heat_map(counts: Int[np.ndarray, "k k"]) -> Picture:
    """Returns a confusion matrix as an image: correct predictions blue, mistakes red, both on white.

    Args:
        counts: as from `confusion`.
    """
    depth = shade(counts)[..., None]
    right = np.eye(len(counts), dtype=bool)[..., None]
    full = np.where(right, np.array([0x00, 0x72, 0xB2]), np.array([0xD5, 0x5E, 0x00]))
    return png((255 + depth * (full - 255)).round().astype(np.uint8), max(1, 480 // len(counts)))


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
