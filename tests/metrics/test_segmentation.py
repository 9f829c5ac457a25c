"""Intersection over union of images and sets, and its bootstrap over images."""

import numpy as np
import pytest
import sklearn.metrics as sklearn

from efficient_jax.metrics import segmentation

RNG = np.random.default_rng(0)
LABELS, ANSWERS = RNG.integers(0, 3, (2, 6, 5, 5))
LABELS[0, 0] = 255
CLASSES = tuple("abcde")  # d and e never occur


def mean_iou(answers, labels):
    """The definition, in float64."""
    counted = labels != 255
    answers, labels = answers[counted], labels[counted]
    sets = [(answers == k, labels == k) for k in range(len(CLASSES))]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in sets if (a | b).any()]))


def test_the_figures_of_a_set_are_scikit_learns():
    counted = LABELS != 255
    expected = sklearn.jaccard_score(LABELS[counted], ANSWERS[counted], average=None)
    found = segmentation.figures(ANSWERS, LABELS, CLASSES)
    assert found["mean_iou"] == pytest.approx(expected.mean())
    assert list(found["iou"].values()) == [*(pytest.approx(share) for share in expected), None, None]
    assert found["iou_interval"]["e"] is None
    assert found["correct"] == sklearn.accuracy_score(LABELS[counted], ANSWERS[counted], normalize=False)
    assert found["n"] == counted.sum()


def test_the_mean_iou_of_each_image_is_its_definition():
    found = segmentation.mean_iou(segmentation.overlaps(ANSWERS, LABELS, len(CLASSES)))
    np.testing.assert_allclose(found, [mean_iou(*pair) for pair in zip(ANSWERS, LABELS, strict=True)], rtol=1e-12)


def test_the_interval_has_the_percentiles_of_sets_of_drawn_images():
    rng = np.random.default_rng(segmentation.SEED)
    images = np.arange(len(LABELS))
    drawn = [np.repeat(images, rng.multinomial(len(images), [1 / 6] * 6)) for _ in range(1000)]
    expected = np.percentile([mean_iou(ANSWERS[rows], LABELS[rows]) for rows in drawn], [2.5, 97.5])
    found = segmentation.figures(ANSWERS, LABELS, CLASSES)
    np.testing.assert_allclose(found["mean_iou_interval"], expected, rtol=1e-9)
    is_a = [(ANSWERS[rows] == 0, (LABELS[rows] == 0), LABELS[rows] != 255) for rows in drawn]
    of_a = [(a & b).sum() / ((a | b) & counted).sum() for a, b, counted in is_a]
    np.testing.assert_allclose(found["iou_interval"]["a"], np.percentile(of_a, [2.5, 97.5]), rtol=1e-9)


def test_an_image_that_is_repeated_has_an_interval_without_width():
    low, high = segmentation.figures(ANSWERS[[1] * 9], LABELS[[1] * 9], CLASSES)["mean_iou_interval"]
    assert low == high == pytest.approx(mean_iou(ANSWERS[1], LABELS[1]))


def test_the_interval_does_not_shrink_with_the_number_of_pixels():
    larger = [np.repeat(np.repeat(maps, 4, 1), 4, 2) for maps in (ANSWERS, LABELS)]
    found, finer = (segmentation.figures(*maps, CLASSES)["mean_iou_interval"] for maps in ((ANSWERS, LABELS), larger))
    assert found == pytest.approx(finer)


def test_without_a_class_there_is_no_figure():
    found = segmentation.figures(ANSWERS, np.full_like(LABELS, 255), CLASSES)
    assert (found["mean_iou"], found["mean_iou_interval"], found["n"]) == (None, None, 0)
    assert np.isnan(segmentation.mean_iou(segmentation.overlaps(ANSWERS, np.full_like(LABELS, 255), 5))).all()
