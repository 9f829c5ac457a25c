"""Statistics of masks and boxes that can be counted by hand."""

import numpy as np
import pytest

from efficient_jax.data import objects
from efficient_jax.data.dataset import Source
from efficient_jax.data.framing import Framing
from efficient_jax.data.objects import placements
from efficient_jax.explore.annotations import annotated, annotations, of_boxes, of_maps

NONE = 255
MAP = np.array(
    [
        [1, 1, 0, 2, 2, NONE],
        [0, 0, 1, 2, 0, NONE],
        [0, 0, 0, 0, 0, NONE],
        [2, 0, 0, 1, 0, NONE],
    ],
    np.uint8,
)
WHOLE = placements(None, 1, MAP.shape, Framing(0))


def test_regions_are_connected_pixels_of_one_class_also_at_corners():
    found = of_maps(MAP[None], [True, False, False], WHOLE)
    sizes = zip(found.labels.tolist(), found.areas.tolist(), found.sides.tolist(), strict=True)
    assert list(sizes) == [(1, 3, [3, 2]), (1, 1, [1, 1]), (2, 3, [2, 2]), (2, 1, [1, 1])]
    assert found.images.tolist() == [0] * 4
    assert found.at_border.tolist() == [True, True, True, True]  # the second is in the last row
    assert found.stored.tolist() == found.areas.tolist()


def test_objects_with_numbers_are_counted_also_where_they_touch():
    """The first region is two objects; one has no class, one is background, and the number 4 is cut off."""
    numbers = np.array([[1, 2, 0, 3, 3, 5], [0, 0, 2, 3, 6, 5], [0] * 6, [7, 0, 0, 8, 0, 0]], np.uint16)
    found = of_maps(MAP[None], [True, False, False], WHOLE, numbers[None])
    sizes = zip(found.labels.tolist(), found.areas.tolist(), found.sides.tolist(), strict=True)
    assert list(sizes) == [(1, 1, [1, 1]), (1, 2, [2, 2]), (2, 3, [2, 2]), (2, 1, [1, 1]), (1, 1, [1, 1])]


def test_the_border_is_that_of_the_image_and_not_of_the_gray_around_it():
    pixels = np.zeros((1, 4, 6), np.uint8)
    pixels[0, 1, 1:3] = pixels[0, 2, 4] = 1
    assert of_maps(pixels, [True, False], WHOLE).at_border.tolist() == [False, False]
    framed = WHOLE._replace(edges=np.array([[1, 0, 6, 4]]))
    assert of_maps(pixels, [True, False], framed).at_border.tolist() == [True, False]


@pytest.mark.parametrize("fit", ["pad", "squash", "crop"])
def test_placements_are_where_an_image_lies_in_its_square(fit):
    """The corners of the image, and the area of a pixel, as boxes are moved."""
    framing, sizes = Framing(64, fit), np.array([[50, 100], [90, 30]])
    found = placements(sizes, 2, (64, 64), framing)
    for (h, w), edges, area in zip(sizes.tolist(), found.edges, found.pixel_areas, strict=True):
        through = objects.window(w, h, framing)
        np.testing.assert_allclose(objects.boxes(np.array([[0.0, 0, w, h]]), through)[0][0], edges)
        np.testing.assert_allclose(area * through.scale.prod(), 1)


def test_boxes_have_the_size_that_they_have_in_the_stored_image():
    """A box of 40 x 20 pixels of an image of twice the size of the square, half of which the crop cuts off."""
    inside = placements(np.array([[128, 256]]), 1, (64, 64), Framing(64))
    boxes, visible = objects.boxes(np.array([[44.0, 10, 84, 30]]), objects.window(256, 128, Framing(64)))
    found = of_boxes(boxes[None], visible[None], np.array([[3]]), inside)
    np.testing.assert_allclose(found.stored, 40 * 20)
    np.testing.assert_allclose(found.sides, [[10, 10]])
    np.testing.assert_allclose(found.areas, 100)
    assert (found.labels.tolist(), found.at_border.tolist()) == ([3], [True])


def test_padding_is_not_ignored_and_pixels_without_a_class_are():
    image = np.zeros((2, 4, 6, 1), np.uint8)
    labels = np.stack([MAP, np.full_like(MAP, NONE)])
    source = Source(image, labels, ("background", "a", "b"), task="segmentation")
    ids = annotated(source, np.arange(2))
    assert ids.tolist() == [0]  # all of the other is 255: it has no mask
    inside = WHOLE._replace(edges=np.array([[0, 0, 6, 4]]))
    assert annotations(source, ids, np.zeros(1, bool), inside).ignored.tolist() == [4]
    inside = WHOLE._replace(edges=np.array([[0, 0, 5, 4]]))
    found = annotations(source, ids, np.zeros(1, bool), inside)
    assert found.ignored.tolist() == [0]
    assert found.pixels.tolist() == [[12, 4, 4]]


def test_held_out_images_are_left_out():
    source = Source(
        np.zeros((3, 4, 6, 1), np.uint8), np.stack([MAP] * 3), ("background", "a", "b"), task="segmentation"
    )
    inside = placements(None, 3, MAP.shape, Framing(0))
    found = annotations(source, np.arange(3), np.array([True, False, False]), inside)
    kept = found.training()
    assert kept.images.tolist() == [1, 2]
    assert kept.parts.images.tolist() == [0] * 4 + [1] * 4
    assert kept.counts.tolist() == [4, 4]


def test_images_that_nobody_has_annotated_are_not_empty():
    boxes = {"boxes": np.zeros((3, 1, 4), np.float32), "box_visible": np.array([[1.0], [0.0], [0.0]])}
    labels = np.zeros((3, 1, 6), np.float32)
    labels[2] = -1
    source = Source(np.zeros((3, 8, 8, 1), np.uint8), labels, ("a",), objects=boxes, task="detection")
    assert annotated(source, np.arange(3)).tolist() == [0, 1]
