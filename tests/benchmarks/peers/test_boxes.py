"""Boxes against ensemble-boxes, torchvision and pycocotools as they are installed today; skipped elsewhere:

pip install -e '.[test]' ensemble-boxes pycocotools torch torchvision && pytest tests/benchmarks/peers/test_boxes.py
"""

from functools import partial

import numpy as np
import pytest

pytest.importorskip("ensemble_boxes", exc_type=ImportError)

from efficient_jax.detection.boxes import nms
from efficient_jax.detection.detections import combine
from efficient_jax.detection.mean_average_precision import mean_average_precision
from tests.benchmarks.peers import make_box_goldens
from tests.detection import cases, test_mean_average_precision
from tests.detection.test_fusion import METHODS, assert_same


@pytest.mark.parametrize("method", METHODS)
def test_a_thousand_images_are_those_of_ensemble_boxes(method):
    confidence = make_box_goldens.CONFIDENCES.get(method)
    name = "weighted_boxes_fusion" if confidence else "non_maximum_weighted"
    settings = {"iou_thr": 0.55, "conf_type": confidence} if confidence else {"iou_thr": 0.5}
    for seed in range(1000):
        models = cases.image(seed)
        ours = combine(models, METHODS[method], cases.WEIGHTS[len(models)])
        assert_same(ours, *make_box_goldens.peer(name, models, **settings))


def test_nms_is_torchvisions():
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops", exc_type=ImportError)
    for seed in range(100):
        (found,) = cases.models(np.random.default_rng(seed), 1, 40, 3)
        arrays = (torch.from_numpy(found[name]) for name in ("boxes", "scores", "labels"))
        try:
            kept = ops.batched_nms(*arrays, 0.3).numpy()
        except (RuntimeError, NotImplementedError):
            pytest.skip("torchvision's operators do not fit torch")
        np.testing.assert_array_equal(combine([found], partial(nms, iou=0.3))["boxes"], found["boxes"][kept])


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_pycocotools(seed):
    found, truth = test_mean_average_precision.dataset(seed)
    ours = mean_average_precision(found, truth)
    np.testing.assert_allclose([ours["ap"], ours["ap50"], ours["ap75"]], coco(found, truth), atol=1e-12)


def coco(found, truth) -> list[float]:
    COCO = pytest.importorskip("pycocotools.coco").COCO
    COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval

    def rows(images):
        for number, image in enumerate(images):
            for box, score, label in zip(*image.values(), strict=True):
                left, top, right, bottom = box.astype(float)
                box = {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
                yield box | {"image_id": number, "category_id": int(label), "score": float(score), "iscrowd": 0}

    def dataset(images):
        data = COCO()
        data.dataset = {
            "images": [{"id": number} for number in range(len(images))],
            "categories": [{"id": label} for label in range(4)],
            "annotations": [row | {"id": number} for number, row in enumerate(rows(images), 1)],
        }
        data.createIndex()
        return data

    evaluation = COCOeval(dataset(truth), dataset(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[:3].tolist()
