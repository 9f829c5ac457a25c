"""What a run of segmentation leaves behind: figures, comparisons, maps of training images, and its page."""

import numpy as np
import pytest

from efficient_jax import files
from efficient_jax.inference import predictions
from efficient_jax.metrics.agreement import sign_test
from efficient_jax.report import page, tables
from efficient_jax.tasks import SEGMENTATION
from tests import tiny_maps

CLASSES = len(tiny_maps.CLASSES)


@pytest.fixture(scope="module")
def results(segmented):
    return {stage: files.read_json(segmented / stage / "result.json") for stage in ("teacher", "student")}


def image_ious(folder):
    """The definition, in float64: of each image the mean over the classes that it has."""
    stored = predictions.read(folder / "predictions.npz", "test")
    means = []
    for p, labels in zip(stored.probabilities, stored.labels, strict=True):
        answers, labels = p.argmax(-1)[labels != 255], labels[labels != 255]
        sets = [(answers == k, labels == k) for k in range(CLASSES)]
        means.append(np.mean([(a & b).sum() / (a | b).sum() for a, b in sets if (a | b).any()]))
    return np.array(means)


def test_mean_iou_of_test_and_validation_images_has_an_interval(results):
    for result in results.values():
        for part in ("test", "validation"):
            low, high = result[part]["mean_iou_interval"]
            assert 0 < low < result[part]["mean_iou"] < high <= 1
        assert len(result["test"]["iou"]) == CLASSES


def test_a_stage_is_compared_with_another_by_the_iou_of_each_image(segmented, results):
    (pair,) = results["student"]["compared"]
    change = image_ious(segmented / "student") - image_ious(segmented / "teacher")
    assert (pair["won"], pair["lost"], pair["n"]) == ((change > 0).sum(), (change < 0).sum(), 12)
    assert pair["won"] + pair["lost"] > 0
    assert pair["p"] == sign_test(pair["won"], pair["lost"])
    assert pair["difference"] == pytest.approx(change.mean())
    assert tables.pair_cells(pair)[0] == f"{100 * change.mean():+.2f}"


def test_samples_have_the_classes_of_their_pixels(segmented):
    with np.load(segmented / "teacher/samples.npz") as arrays:
        raw, maps, augmented = arrays["raw"], arrays["raw_map"], arrays["augmented_map"]
        views = arrays["augmented"]
    assert maps.shape == raw.shape[:3]
    assert augmented.shape == views.shape[:4]
    for images, classes in ((raw, maps), (views, augmented)):
        levels = [images[..., 0][classes == k].mean() for k in (1, 0, 2)]  # dark, background, bright
        np.testing.assert_allclose(levels, tiny_maps.LEVELS[[1, 0, 2]], atol=25)  # edges are resampled
    assert (maps == 255).any()  # what "pad" adds


def test_the_page_names_its_figure(segmented):
    text = page.write_report(segmented, SEGMENTATION.columns, False, False).read_text()
    test = files.read_json(segmented / "student/result.json")["test"]
    assert f"{100 * test['mean_iou']:.2f}&thinsp;%" in text
    assert "Test mean IoU from 12 labels" in text
    assert "bootstrap of the images" in text
    for words in ("ccuracy", "Wilson)"):
        assert words not in text.partition('id="config"')[0], words
    index = (segmented / "index.html").read_text()
    assert f"{100 * test['mean_iou']:.2f}&thinsp;%" in index
    assert "Test mean IoU" in index
    assert "explain --members" not in index  # which refuses maps
    low, high = test["iou_interval"]["2"]
    assert f"{100 * test['iou']['2']:.2f} [{100 * low:.2f}, {100 * high:.2f}]" in text


def test_the_best_stage_is_that_of_the_highest_mean_iou():
    tests = [{"mean_iou": iou, "correct": correct, "n": 100} for iou, correct in ((0.4, 90), (0.6, 80), (0.5, 99))]
    results = [{"stage": str(i), "test": test} for i, test in enumerate(tests)]
    assert tables.best(results, SEGMENTATION.columns[0]) == 1
    assert tables.best(results, tables.ACCURACY) == 2
