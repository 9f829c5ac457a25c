"""Class maps over images on pages."""

import numpy as np

from efficient_jax.report import maps, sheets

CLASSES = ("background", "cat", "dog")


def test_classes_have_colors_of_their_own_and_the_background_has_none():
    many = ("sky", *map(str, range(60)))
    found = maps.colors(many)
    assert len(set(found)) == len(many)
    assert None not in found
    assert maps.colors(CLASSES)[0] is None
    assert None not in maps.colors(CLASSES)[1:]
    assert maps.colors(("a", "b"))[0] is None  # of two classes the first
    assert maps.legend(("a", "b")) == [("a", ""), ("b", "#e69f00")]


def test_pixels_have_half_the_color_of_their_class():
    image = np.full((1, 1, 4, 1), 100, np.uint8)
    found = maps.tinted(image, np.array([[[0, 1, 2, 255]]]), CLASSES)
    cat, dog = (np.array(maps.colors(CLASSES)[k]) for k in (1, 2))
    expected = [[100] * 3, (100 + cat) // 2, (100 + dog) // 2, [100] * 3]
    np.testing.assert_array_equal(found[0, 0], expected)


def test_a_further_palette_tints_a_tile():
    example = {"image": np.zeros((1, 2, 3), np.uint8), "mask": np.array([[0, 1]])}
    np.testing.assert_array_equal(sheets.tile(example, 1, [(9, 9, 9), (200, 100, 50)]), [[[0] * 3, [100, 50, 25]]])


def test_a_worst_image_has_its_figures_below_it():
    labels = np.array([[[0, 0], [1, 255]]])
    arrays = {"images": np.zeros((1, 2, 2, 1), np.uint8), "label": labels, "predicted": np.array([[[0, 1], [1, 1]]])}
    arrays |= {"loss": np.array([0.25]), "file_names": np.array(["a.png"])}
    (found,) = maps.mistakes(arrays, ("a", "b"), 5)
    assert found.lines == ["mean IoU 50.0%, loss 0.250", "a.png"]  # of both classes 1 of 2 pixels
    assert maps.mistakes(arrays, ("a", "b"), 0) == []


def test_a_class_that_does_not_occur_has_a_dash():
    figures = {"iou": {"0": 0.5, "1": None}, "iou_interval": {"0": [0.25, 0.75], "1": None}}
    figures |= {"mean_iou": 0.5, "mean_iou_interval": [0.25, 0.75]}
    figures |= {f"boundary_{name}": value for name, value in figures.items()}
    ((_, headers, rows),) = maps.part_tables(figures, ("a", "b"))
    assert headers == maps.CLASS_HEADERS
    half = "50.00 [25.00, 75.00]"
    assert rows == [["a", half, half], ["b", "–", "–"], [maps.MEAN, half, half]]
    assert maps.part_tables({"correct": 1}, ("a", "b")) == []
