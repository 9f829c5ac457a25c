from pathlib import Path

import numpy as np
import pytest

from efficient_jax.detection.mean_average_precision import SIZES, coco_figures, mean_average_precision
from efficient_jax.errors import UserError
from tests.detection import cases

# what pycocotools 2.0.11 says of `dataset()`: tests/benchmarks/peers/test_boxes.py
COCO = (0.13444412928374225, 0.460688953948243, 0.026124899457364275)


def dataset(seed=0, images=30):
    """Two models' boxes of each image: the first as what is found, with equal scores, the second as the truth."""
    rng = np.random.default_rng(seed)
    pairs = [cases.models(rng, 2, 8, 4, spread=0.06) for _ in range(images)]
    found, truth = zip(*pairs, strict=True)
    return [image | {"scores": image["scores"].round(1)} for image in found], list(truth)


FIGURES = ["ap", "ap50", "ap75", *(f"ap_{size}" for size in SIZES), "ar1", "ar10", "ar100"]
FIGURES += [f"ar_{size}" for size in SIZES]
GOLDENS = Path(__file__).parent / "coco.npz"  # of tests/benchmarks/peers/make_coco_goldens.py


def test_the_figures_of_fifty_sets_are_those_of_pycocotools():
    ours = [coco_figures(*cases.annotated(seed)) for seed in range(cases.SETS)]
    with np.load(GOLDENS) as goldens:
        theirs = np.where(goldens["stats"] == -1, np.nan, goldens["stats"])
    np.testing.assert_allclose([[figures[name] for name in FIGURES] for figures in ours], theirs, rtol=0, atol=1e-9)


def test_the_figures_of_all_sizes_are_those_without_sizes():
    found, truth = cases.annotated(3)
    whole, plain = coco_figures(found, truth), mean_average_precision(found, truth)
    for name, expected in plain.items():
        np.testing.assert_array_equal(whole[name], expected)


def test_it_is_pycocotools():
    result = mean_average_precision(*dataset())
    np.testing.assert_allclose([result["ap"], result["ap50"], result["ap75"]], COCO, atol=1e-12)


def image(*boxes, labels=(), scores=()):
    n = len(boxes)
    return {"boxes": np.float32(boxes), "labels": labels or [0] * n, "scores": scores or [1.0] * n}


def test_by_hand():
    """Of class 0, with three true boxes, the guesses are wrong (in the second image), right, wrong (taken), right:
    the best precision is 2/4 at recall 1/3 and at 2/3, then 0. Class 1 is nowhere in the truth, 2 is not found."""
    truth = [image((0, 0, 4, 4), (5, 5, 9, 9), (20, 0, 24, 4)), image((0, 0, 4, 4), labels=[2])]
    four = (0, 0, 4, 4), (0, 0, 4, 4), (5, 5, 9, 9), (0, 0, 1, 1)
    guesses = image(*four, labels=[0, 0, 0, 1], scores=[0.9, 0.8, 0.7, 1.0])
    result = mean_average_precision([guesses, image((0, 0, 4, 4))], truth)
    np.testing.assert_array_equal(result["classes"], [0, 2])
    np.testing.assert_allclose(result["each"][0], 67 * 0.5 / 101)  # recalls 0.00 to 0.66
    np.testing.assert_allclose(result["each"][1], 0.0)
    assert result["ap"] == pytest.approx(67 * 0.25 / 101)


def test_the_truth_is_perfect():
    truth = [image((0, 0, 4, 4)), image((0, 0, 4, 4), (6, 6, 9, 9))]
    assert mean_average_precision(truth, truth)["ap"] == 1.0
    # 16 / 18 = 0.889 passes the eight thresholds up to 0.85
    assert mean_average_precision([image((0, 0, 4, 4.5))], truth[:1])["ap"] == pytest.approx(0.8)


def test_sizes_by_hand():
    """Of a small object and two large ones the detector finds the small one and the first large one; a small box at
    another place is wrong among the small ones alone."""
    truth = [image((0, 0, 20, 20), (100, 100, 300, 300)), image((0, 0, 100, 100))]
    found = [image((0, 0, 20, 20), (100, 100, 300, 300), (50, 0, 60, 10), scores=[0.7, 0.8, 0.9])]
    found.append({"boxes": [], "labels": [], "scores": []})
    figures = coco_figures(found, truth)
    assert figures["ap_small"] == pytest.approx(0.5)  # 1 of 2 is right at every recall
    assert figures["ap_large"] == pytest.approx(51 / 101)  # recalls 0.00 to 0.50
    assert np.isnan(figures["ap_medium"])
    assert (figures["ar_small"], figures["ar_large"]) == (1.0, 0.5)
    assert figures["ar1"] == 0.0  # the best box of the first image is wrong
    assert figures["ar10"] == pytest.approx(2 / 3)


def test_areas_of_other_pixels_decide_the_size():
    box = image((0, 0, 20, 20))
    enlarged = box | {"areas": np.array([20.0**2 * 9])}
    assert coco_figures([enlarged], [enlarged])["ap_medium"] == 1.0
    assert np.isnan(coco_figures([enlarged], [enlarged])["ap_small"])


def test_boxes_in_a_crowd_are_neither_right_nor_wrong():
    truth = image((0, 0, 40, 40), (50, 50, 90, 90)) | {"crowds": [True, False]}
    inside = (0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 90, 90)
    found = image(*inside, scores=[0.9, 0.8, 0.7])
    assert mean_average_precision([found], [truth])["ap"] == 1.0
    assert mean_average_precision([found], [truth | {"crowds": [False, False]}])["ap"] < 0.4


def test_what_cannot_be_judged_is_said():
    good = image((0, 0, 4, 4))
    with pytest.raises(UserError, match="boxes found in 1 image, true ones of 2"):
        mean_average_precision([good], [good, good])
    with pytest.raises(UserError, match="no boxes at all"):
        mean_average_precision([good], [{"boxes": [], "labels": []}])
    with pytest.raises(UserError, match="truth of image 0: box 0"):
        mean_average_precision([good], [image((4, 0, 0, 4))])
