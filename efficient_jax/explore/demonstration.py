"""Demonstration images with known boxes, masks and keypoints."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

Arrays = dict[str, np.ndarray]
"""An example or a batch on the host: see `types.Example`."""

HEIGHT, WIDTH = 96, 120
COLORS = ((230, 120, 30), (20, 170, 120), (220, 130, 170))  # of the square, the disc and the triangle
RADII = (14, 11, 16)
CENTERS = (  # (x, y) of their centers in each image
    ((20, 22), (62, 58), (94, 30)),
    ((96, 66), (28, 54), (66, 24)),
    ((56, 28), (102, 62), (24, 68)),
    ((24, 66), (60, 20), (92, 60)),
)
PAGE = (160, 144)
LINES = (
    ("Dear Ada,", "the engine weaves", "algebraic patterns", "as the loom weaves", "flowers and leaves.", "Yours, C."),
    ("Invoice 1843", "2 brass wheels", "1 set of cards", "carriage, London", "total 17 pounds", "paid, thank you"),
)


def photographs(two: Sequence[np.ndarray] | np.ndarray = ()) -> Arrays:
    """Returns two photographs, twice each, with a square, a disc and a triangle pasted on.

    Args:
        two: uint8 [h w 3], of any size; none: scikit-learn's two sample photographs.
    """
    if not len(two):
        from sklearn.datasets import load_sample_images  # takes 0.5 s, so only where it is needed

        two = load_sample_images().images
    images = [ImageOps.fit(Image.fromarray(image), (WIDTH, HEIGHT)) for image in two]
    return _stacked([_with_shapes(np.array(i), centers) for i, centers in zip(images * 2, CENTERS, strict=True)])


def _with_shapes(image: np.ndarray, centers: tuple[tuple[int, int], ...]) -> Arrays:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    square, disc, triangle = [(x - center_x, y - center_y) for center_x, center_y in centers]
    a, b, c = RADII
    inside = np.stack(
        [
            np.maximum(abs(square[0]), abs(square[1])) <= a,
            np.hypot(*disc) <= b,
            (2 * abs(triangle[0]) <= triangle[1] + c) & (triangle[1] <= c),
        ]
    )
    for shape, color in zip(inside, COLORS, strict=True):
        image[shape] = color
    (left, top), center, (tip_x, tip_y) = centers
    keypoints = [(left - a, top - a), (left + a, top + a), center, (tip_x, tip_y - c), (tip_x - c, tip_y + c)]
    return {
        "image": image,
        "mask": (inside * np.array([1, 2, 3])[:, None, None]).max(0).astype(np.int32),
        "keypoints": np.array(keypoints, np.float32),
        "keypoint_visible": np.ones(len(keypoints), bool),
        "saliency": inside.any(0).astype(np.float32),
        **_objects(inside),
    }


def page() -> Arrays:
    """Returns two pages of printed text with a box around each line."""
    pages = []
    for lines in LINES:
        sheet = Image.new("RGB", PAGE, "white")
        draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
        boxes = []
        for row, line in enumerate(lines):
            draw.text((10, 8 + 22 * row), line, (20, 20, 30), font)
            boxes.append(draw.textbbox((10, 8 + 22 * row), line, font))
        pages.append(
            {
                "image": np.array(sheet),
                "boxes": np.array(boxes, np.float32),
                "box_visible": np.ones(len(boxes), np.float32),
            }
        )
    return _stacked(pages)


def _objects(inside: np.ndarray) -> Arrays:
    """Returns the boxes of bool masks [n h w]; coordinates are edges of pixels, not their centers."""
    boxes = []
    for shape in inside:
        rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
        boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return {
        "boxes": np.array(boxes, np.float32),
        "box_visible": np.ones(len(boxes), np.float32),
        "box_mask": inside,
    }


def _stacked(examples: list[Arrays]) -> Arrays:
    """Returns the examples as a batch, each with a class of its own."""
    batch = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
    return batch | {"label": np.eye(len(examples), dtype=np.float32)}
