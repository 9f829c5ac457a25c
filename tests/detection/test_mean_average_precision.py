import numpy as np
import pytest

from efficient_jax.detection.mean_average_precision import mean_average_precision
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


def test_what_cannot_be_judged_is_said():
    good = image((0, 0, 4, 4))
    with pytest.raises(UserError, match="boxes found in 1 image, true ones of 2"):
        mean_average_precision([good], [good, good])
    with pytest.raises(UserError, match="no boxes at all"):
        mean_average_precision([good], [{"boxes": [], "labels": []}])
    with pytest.raises(UserError, match="truth of image 0: box 0"):
        mean_average_precision([good], [image((4, 0, 0, 4))])
