"""A tiny run of segmentation: gray images with a dark and a bright square, and two stages that learn their pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests import tiny_run

SIZE = 16  # side of the squares that networks see
CLASSES = ("background", "dark", "bright")
LEVELS = np.array([128, 30, 230])


def draw(folder: Path, count: int, seed: int = 0) -> dict[str, str]:
    """Draws images of different sizes and their masks; returns the settings of the source."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        h, w = rng.integers(12, 28, 2)
        mask = np.zeros((h, w), np.uint8)
        for label in (1, 2):
            top, left = rng.integers(0, h - 6), rng.integers(0, w - 6)
            mask[top : top + 6, left : left + 6] = label
        noisy = LEVELS[mask] + rng.integers(-20, 21, (h, w))
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"images/{number:02}.png")
        Image.fromarray(mask).save(folder / f"masks/{number:02}.png")
    (folder / "masks/classes.txt").write_text("\n".join(CLASSES))
    source = {"name": "masks", "path": str(folder / "images"), "masks": str(folder / "masks")}
    return source | {"size": SIZE, "channels": 1}


def stage(method: str, steps: int, **changes) -> dict:
    """The block of a stage."""
    block = tiny_run.stage(method, steps, decoder={"name": "masks", "width": 8}, **changes)
    block["augment"] = {"ops": ("flip",)}
    return block


def train(folder: Path) -> None:
    """Trains a teacher and its student in `folder`/run, on images in `folder`/drawn."""
    student = stage("noisy_student", 20, teacher="teacher", init="teacher", pseudo_labels={"threshold": 0.3})
    stages = {"teacher": stage("supervised", 60), "student": student}
    data = {"source": draw(folder / "drawn", 44), "labels_per_class": 12, "test": 12, "validation": 4}
    config = {"seed": 0, "devices": 2, "stages": tuple(stages), "data": data, **stages}
    tiny_run.trained(config, folder / "run")
