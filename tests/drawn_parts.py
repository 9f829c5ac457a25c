"""Sources of drawn rectangles on noise, for tasks with labels of parts of images, and runs on them."""

from pathlib import Path

import numpy as np
from rich.console import Console

from efficient_jax.data.dataset import Source
from efficient_jax.experiment.stage import run_stage
from tests.tiny_run import begin, begun, stage

SIDE, COUNT, TESTS, HIDDEN = 32, 72, 12, 24
LEVELS = (150, 220)  # of the rectangles of class 0 and 1


def rectangles() -> tuple[np.ndarray, np.ndarray]:
    """Images with a rectangle of each class, and the edges [n 2 4] of these."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 90, (COUNT, SIDE, SIDE, 3)).astype(np.uint8)
    sizes = rng.integers(8, 15, (COUNT, 2, 2))
    corners = np.stack([rng.integers(0, SIDE - 15, (COUNT, 2)), rng.integers(0, SIDE - 15, (COUNT, 2))], -1)
    edges = np.concatenate([corners, corners + sizes], -1)
    for image, boxes in zip(images, edges, strict=True):
        for level, (left, top, right, bottom) in zip(LEVELS, boxes, strict=True):
            image[top:bottom, left:right] = level
    return images, edges


def masks(*, unlabelled: int = HIDDEN) -> Source:
    """Classes of pixels; the last images have none."""
    images, edges = rectangles()
    labels = np.zeros(images.shape[:3], np.uint8)
    for label, boxes in zip(labels, edges, strict=True):
        for index, (left, top, right, bottom) in enumerate(boxes, 1):
            label[top:bottom, left:right] = index
    labels[COUNT - unlabelled :] = 255
    names, fixed = ("background", "gray", "white"), {"test": np.arange(TESTS)}
    return Source(images, labels, names, fixed, task="segmentation")


def boxes(*, unlabelled: int = HIDDEN) -> Source:
    """Objects; the last images have no annotations, and in the others a third row is no object.

    Of the images that are not for the test every third is noise without any object.
    """
    images, edges = rectangles()
    shown = np.ones((COUNT, 2), np.int32)
    shown[TESTS::3] = 0
    empty = ~shown.any(1)
    images[empty] = np.random.default_rng(1).integers(0, 90, images[empty].shape)
    there = np.pad(shown, ((0, 0), (0, 1)))
    objects = {
        "boxes": np.pad(edges, ((0, 0), (0, 1), (0, 0))).astype(np.float32) * there[..., None].astype(np.float32),
        "box_label": np.where(there > 0, np.arange(3, dtype=np.int32), -1),
        "box_visible": there.astype(np.float32),
    }
    labels = shown.copy()
    labels[COUNT - unlabelled :] = -1
    fixed = {"test": np.arange(TESTS)}
    return Source(images, labels, ("gray", "white"), fixed, objects=objects, task="detection")


SOURCES = {"drawn_masks": masks, "drawn_boxes": boxes}
DECODERS = {
    "drawn_masks": {"name": "masks", "width": 16, "strides": (2, 4)},
    "drawn_boxes": {"name": "boxes", "width": 16, "strides": (4, 8), "tower": 1},
}


def block(source: str, method: str = "supervised", steps: int = 2, **changes) -> dict:
    """A stage on one of these sources."""
    made = stage(method, steps=steps, decoder=DECODERS[source], **changes)
    return made | {"model": {"name": "cnn", "width": 8}} if "model" not in changes else made


def run(source: str, workdir: Path, stages: dict, devices: int = 2, validation: int = 0, **settings) -> list[dict]:
    """Results of the stages of a run; `SOURCES` is among the sources of the package."""
    data = {"source": {"name": source, **settings}, "test": 0, "validation": validation}
    config = {"seed": 0, "devices": devices, "stages": tuple(stages), "data": data, **stages}
    workdir.mkdir(exist_ok=True)
    prepared = begun(config, workdir, Console(quiet=True))
    begin(workdir, config, prepared.data)
    return [run_stage(one, prepared) for one in prepared.plan.stages]
