"""What examples have is drawn on their images."""

import numpy as np

from efficient_jax.report import maps, overlays, sheets

IMAGES = np.full((2, 8, 8, 1), 100, np.uint8)
CLASSES = ("background", "cat", "dog")


def test_masks_are_tinted_and_pixels_without_a_class_are_not():
    classes = np.random.default_rng(0).choice([0, 1, 2, 255], (2, 8, 8)).astype(np.uint8)
    found = overlays.drawn(IMAGES, {"mask": classes + np.uint8(1)}, CLASSES)
    np.testing.assert_array_equal(found, maps.tinted(IMAGES, classes, CLASSES))
    assert (found[classes == 255] == 100).all()
    assert [name for name, color in overlays.legend({"mask": classes}, CLASSES) if color] == ["cat", "dog"]


def test_boxes_have_the_color_of_their_class_in_the_legend():
    boxes = np.array([[[0, 0, 4, 4], [4, 4, 8, 8], [0, 4, 4, 8]]] * 2, np.float32)
    entries = {"boxes": boxes, "box_visible": np.array([[1.0, 1.0, 0.0]] * 2), "box_label": np.array([[2, 0, 1]] * 2)}
    found = overlays.drawn(IMAGES, entries, CLASSES)
    scale = found.shape[1] // 8
    colors = sheets.class_colors(3)
    assert tuple(found[0, 0, 0]) == colors[2]
    assert tuple(found[0, 4 * scale, 4 * scale]) == colors[0]
    assert tuple(found[0, 4 * scale, 0]) == (100, 100, 100)  # not visible
    assert overlays.legend(entries, CLASSES)[2] == ("dog", sheets.css(colors[2]))


def test_images_without_parts_stay_as_they_are():
    assert overlays.drawn(IMAGES, {}, CLASSES) is IMAGES
    assert overlays.legend({}, CLASSES) == []
