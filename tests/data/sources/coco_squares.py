"""COCO files of three images with squares as objects."""

import json
from pathlib import Path


def square(image, category, left, top, side, **more):
    """An annotation whose polygon is its box."""
    right, bottom = left + side, top + side
    outline = [left, top, right, top, right, bottom, left, bottom]
    return {
        "image_id": image,
        "category_id": category,
        "bbox": [left, top, side, side],
        "segmentation": [outline],
    } | more


CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
IMAGES = [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 10} for n in (1, 2, 3)]
ANNOTATIONS = [
    square(1, 7, 6, 2, 4, keypoints=[7, 3, 2, 8, 4, 1, 0, 0, 0]),
    square(3, 3, 0, 0, 10),
    square(1, 3, 10, 2, 6, segmentation={"size": [10, 20], "counts": [102, 6, 4, 6, 4, 6, 4, 6, 4, 6, 4, 6, 42]}),
    square(1, 3, 0, 0, 10, iscrowd=1),
    square(1, 7, 5, 5, 0),
]
SQUARES = [square(1, 7, 6, 2, 4), square(1, 3, 8, 2, 4), square(3, 3, 16, 0, 8)]


def write(name="a.json", **content):
    lists = {"images": IMAGES, "annotations": ANNOTATIONS, "categories": CATEGORIES} | content
    Path(name).write_text(json.dumps({name: each for name, each in lists.items() if each is not None}))
    return name
