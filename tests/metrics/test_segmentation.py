"""Intersection over union of images and sets, and its bootstrap over images."""

import numpy as np
import pytest
import scipy
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


def naive_boundary_iou(answers, labels, classes):
    """The definition: of masks of each class, less what is left when they are eroded."""
    square, counted = np.ones((3, 3), bool), labels != 255
    width = max(1, round(0.02 * np.hypot(*labels.shape[1:])))
    shares = []
    for k in range(classes):
        edges = []
        for maps in (answers, labels):
            masks = (maps == k) & counted
            edges.append([mask & ~scipy.ndimage.binary_erosion(mask, square, width) for mask in masks])
        of_answers, of_labels = map(np.array, edges)
        union = (of_answers | of_labels).sum()
        shares.append((of_answers & of_labels).sum() / union if union else np.nan)
    return shares


def test_the_boundary_iou_is_that_of_eroded_masks():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 3, (2, 4, 5, 7))
    answers, labels = coarse.repeat(16, 2).repeat(12, 3)[..., :75]
    labels[1] = np.roll(answers[1], 2, axis=1)
    labels[2, :9] = labels[0, 30:50, 20:30] = 255
    found = segmentation.boundary_figures(answers.astype(np.uint8), labels.astype(np.uint8), CLASSES)
    expected = naive_boundary_iou(answers, labels, 3)
    np.testing.assert_allclose(list(found["boundary_iou"].values())[:3], expected, rtol=1e-12)
    assert found["boundary_iou"]["d"] is None
    assert found["boundary_mean_iou"] == pytest.approx(np.mean(expected))
    low, high = found["boundary_mean_iou_interval"]
    assert low < found["boundary_mean_iou"] < high


def test_the_boundary_of_a_square_that_is_moved_by_a_pixel():
    """Sides of 20 in a map of 100 pixels, whose boundaries are 3 pixels wide: 2% of 141."""
    side, width, border = 20, 3, 100**2 - 94**2
    maps = np.zeros((2, 1, 100, 100), np.uint8)
    for i in range(2):
        maps[i, 0, 40:60, 40 + i : 60 + i] = 1
    inner, outer = side - 2 * width, side + 2 * width
    both = np.array([border + outer * (outer - 1) - side * (side + 1), side * (side - 1) - inner * (inner + 1)])
    each = np.array([border + outer**2 - side**2, side**2 - inner**2])
    found = segmentation.boundary_figures(*maps, ("background", "square"))
    np.testing.assert_allclose(list(found["boundary_iou"].values()), both / (2 * each - both), rtol=1e-12)
    regions = segmentation.figures(*maps, ("background", "square"))
    assert found["boundary_mean_iou"] < regions["mean_iou"]


def test_equal_maps_have_equal_boundaries():
    found = segmentation.boundary_figures(LABELS[1:] % 3, LABELS[1:], CLASSES)
    assert found["boundary_mean_iou"] == 1.0


def test_without_a_class_there_is_no_figure():
    found = segmentation.figures(ANSWERS, np.full_like(LABELS, 255), CLASSES)
    assert (found["mean_iou"], found["mean_iou_interval"], found["n"]) == (None, None, 0)
    assert np.isnan(segmentation.mean_iou(segmentation.overlaps(ANSWERS, np.full_like(LABELS, 255), 5))).all()
