"""Writes tests/detection/coco.npz: what pycocotools makes of `cases.annotated` and `cases.mask`.

Runs where pycocotools is installed; the committed file is of pycocotools 2.0.11:

    pip install pycocotools && python -m tests.benchmarks.peers.make_coco_goldens
"""

import contextlib
import io
from pathlib import Path

import numpy as np
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.detection import cases

FILE = Path(__file__).parents[2] / "detection" / "coco.npz"


def stats(found, truth) -> np.ndarray:
    """The twelve figures; -1 where there is none."""
    images = [{"id": number} for number in range(len(truth))]
    content = {"images": images, "categories": [{"id": label} for label in range(cases.KINDS)]}
    content["annotations"] = [
        {"image_id": number, "category_id": int(label), "bbox": bbox(box), "area": area, "iscrowd": int(crowd)}
        for number, image in enumerate(truth)
        for box, label, area, crowd in zip(
            *(image[name] for name in ("boxes", "labels", "areas", "crowds")), strict=True
        )
    ]
    content["annotations"] = [row | {"id": number} for number, row in enumerate(content["annotations"], 1)]
    results = [
        {"image_id": number, "category_id": int(label), "bbox": bbox(box), "score": float(score)}
        for number, image in enumerate(found)
        for box, label, score in zip(*(image[name] for name in ("boxes", "labels", "scores")), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO()
        annotations.dataset = content
        annotations.createIndex()
        evaluation = COCOeval(annotations, annotations.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def bbox(box: np.ndarray) -> list[float]:
    left, top, right, bottom = box.tolist()
    return [left, top, right - left, bottom - top]


def text(mask: np.ndarray) -> str:
    """The run lengths, which pycocotools decodes to the mask again."""
    encoded = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(masks.decode(encoded), mask)
    return encoded["counts"].decode()


if __name__ == "__main__":
    figures = np.array([stats(*cases.annotated(seed)) for seed in range(cases.SETS)])
    texts = np.array([text(cases.mask(seed)) for seed in range(cases.MASKS)])
    np.savez_compressed(FILE, stats=figures, texts=texts)
