"""Examples as images, with masks, boxes and keypoints drawn on top."""

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from PIL import Image, ImageDraw

from efficient_jax.report import plots

Example = Mapping[str, Shaped[np.ndarray, " *shape"]]
Color = tuple[int, ...]
"""Red, green and blue in 0..255."""
Sheet = Mapping[str, Mapping[str, Shaped[np.ndarray, " b *rest"]]]
"""Heading -> examples, a column for each heading."""

ROWS, DRAWN_ROWS = 4, 2
DRAWN = ("mask", "box_mask", "boxes", "keypoints")
DRAWN_SIDE = 256  # pixels: images are enlarged to about this where lines are drawn on them
GAP = 4
PALETTE: list[Color] = [tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in plots.COLORS]
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
BRIGHT = [4, 5, 2, 3, 1, 0]  # of `PALETTE`, the lightest first: most images are darker
TURN = 0.618034  # of the hue, from one further color to the next: a golden section never comes back


def class_colors(count: int) -> list[Color]:
    """Returns different colors, one for each class.

    Args:
        count: number of classes.

    Returns: at least `count` of them.
    """
    turns = (0.1 + TURN * i for i in range(count))
    further = [tuple(round(255 * x) for x in colorsys.hsv_to_rgb(turn % 1, 0.85, 0.85)) for turn in turns]
    return [*(PALETTE[i] for i in BRIGHT), *further]


def css(color: Color) -> str:
    """Returns a color as CSS writes it.

    Args:
        color: red, green and blue.
    """
    return "#{:02x}{:02x}{:02x}".format(*color)


def columns(sheet: Sheet, colors: Sequence[Color] = PALETTE) -> list[tuple[str, plots.EmbeddedImage]]:
    """Returns (heading, the first examples below each other), all enlarged by the same factor.

    Args:
        sheet: one heading or more; the same number of examples under each.
        colors: of the classes of a mask; class 0 is not tinted.
    """
    first = next(iter(sheet.values()))
    drawn = any(name in first for name in DRAWN)
    scale = max(1, (DRAWN_SIDE if drawn else plots.TILE) // max(first["image"].shape[1:3]))
    rows = min(DRAWN_ROWS if drawn else ROWS, len(first["image"]))
    return [(heading, _column(examples, rows, scale, colors)) for heading, examples in sheet.items()]


def _column(examples: Mapping[str, np.ndarray], rows: int, scale: int, colors: Sequence[Color]) -> plots.EmbeddedImage:
    tiles = [tile({name: values[i] for name, values in examples.items()}, scale, colors) for i in range(rows)]
    return plots.encoded(plots.arranged(tiles, [0, *[GAP] * rows], below=True), lossless=False)


def tile(example: Example, scale: int, colors: Sequence[Color] = PALETTE) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Returns an enlarged example, its pixel classes tinted, object masks outlined, boxes and keypoints drawn.

    Boxes with a "box_label" have the color of their class, see `class_colors`.

    Args:
        example: see `types.Example`; "image" is uint8.
        scale: factor, 1 or more.
        colors: of the classes of a mask; class 0 is not tinted.
    """
    if not any(name in example for name in DRAWN):
        image = plots.rgb(example["image"])
        return image.repeat(scale, 0).repeat(scale, 1)
    image = example["image"][..., :3] if example["image"].shape[-1] >= 3 else example["image"][..., :1].repeat(3, -1)
    image = _tinted(image, example["mask"], colors) if "mask" in example else image
    image = image.repeat(scale, 0).repeat(scale, 1)
    for shape in example.get("box_mask", ()):
        image[_rim(shape.repeat(scale, 0).repeat(scale, 1))] = WHITE
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    if "boxes" in example:
        of_boxes = _box_colors(example)
        for box, visible, color in zip(example["boxes"], example["box_visible"], of_boxes, strict=True):
            if visible > 0:
                draw.rectangle(_pixels(box, scale), outline=color, width=min(scale, 2))
    if "keypoints" in example:
        for (x, y), visible in zip(scale * (example["keypoints"] + 0.5), example["keypoint_visible"], strict=True):
            if visible > 0:
                draw.ellipse((x - 4, y - 4, x + 3, y + 3), WHITE, BLACK)
    return np.asarray(canvas)


def _box_colors(example: Example) -> list[Color]:
    """Returns the color of each box: of its class where it has one, else of its own."""
    if "box_label" not in example:
        return [PALETTE[(number + 1) % len(PALETTE)] for number in range(len(example["boxes"]))]
    labels = example["box_label"].astype(int)
    colors = class_colors(int(labels.max(initial=0)) + 1)
    return [colors[label] for label in labels]


def _tinted(
    image: UInt8[np.ndarray, "h w 3"], mask: Int[np.ndarray, "h w"], colors: Sequence[Color]
) -> UInt8[np.ndarray, "h w 3"]:
    of_pixels = np.array(colors, np.int32)[mask % len(colors)]
    return np.where((mask > 0)[..., None], (image + of_pixels) // 2, image).astype(np.uint8)


def _rim(shape: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Returns the pixels of a shape that touch a pixel outside of it."""
    around = np.pad(shape, 1)
    rim: np.ndarray = shape & ~(around[2:, 1:-1] & around[:-2, 1:-1] & around[1:-1, 2:] & around[1:-1, :-2])
    return rim


def _pixels(box: Float[np.ndarray, " 4"], scale: int) -> tuple[float, float, float, float]:
    """Returns the first and last pixel of a box that is given by its edges."""
    left, top, right, bottom = np.round(scale * box).tolist()
    return left, top, max(left, right - 1), max(top, bottom - 1)
