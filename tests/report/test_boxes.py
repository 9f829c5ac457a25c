"""Boxes over images on pages, and the tables of their figures."""

import numpy as np

from efficient_jax.report import boxes
from efficient_jax.tasks import detection

NOTHING = [0, 0, 0, 0, -1, 0]
TRUE = np.array([[[1, 1, 5, 6, 0, 1.0], NOTHING], [NOTHING, NOTHING]], np.float32)
FOUND = np.array([[[1, 1, 5, 6, 0, 0.9], [2, 2, 7, 7, 0, 0.6]], [[0, 0, 4, 4, 1, 0.75], NOTHING]], np.float32)


def test_the_worst_images_have_their_figures_below_them():
    """One less the average precision of an image, or of one without objects the score of its surest box."""
    arrays = {"images": np.zeros((2, 8, 8, 3), np.uint8), "label": TRUE, "predicted": FOUND}
    arrays |= {"loss": detection.severity(FOUND, TRUE), "file_names": np.array(["a.png", "b.png"])}
    lines = [found.lines for found in boxes.mistakes(arrays, ("a", "b"), 2)]
    assert lines == [
        ["1 true, 2 predicted", "AP50 1.00", "a.png"],
        ["0 true, 1 predicted", "highest score 0.75", "b.png"],
    ]


def test_figures_by_size_number_and_class_have_tables():
    figures = detection.test_figures(FOUND, TRUE, FOUND, ("0", "1"), None)
    figures |= detection.counts(FOUND, TRUE, FOUND)
    sizes, numbers, classes = boxes.part_tables(figures, ("cat", "dog"))
    assert [row[1:] for row in sizes[2]] == [["100.00", "100.00"]] * 2 + [["–", "–"]] * 2
    assert [row[0] for row in sizes[2]] == list(boxes.SIZES.values())
    assert numbers[2] == [["1", "100.00"], ["10", "100.00"], ["100", "100.00"]]
    assert classes[2] == [["cat", "100.00"], ["dog", "–"]]
    assert boxes.part_tables({"ap": None, "class_ap": {"0": None}}, ("cat",)) == []
    assert boxes.headers()[:4] == ["AP small, %", "AP medium, %", "AP large, %", "AR1, %"]
