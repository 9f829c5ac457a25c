"""Images of examples: known pixels."""

import base64
import io

import numpy as np
from PIL import Image

from efficient_jax.report import plots, sheets

GRAY = np.full((10, 12, 1), 100, np.uint8)


def pixels(embedded):
    data = base64.b64decode(embedded.src.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)))


def example(**more):
    return {"image": GRAY, **more}


def color_at(tile, color):
    return {tuple(place) for place in np.argwhere((tile == color).all(-1)).tolist()}


def test_a_box_is_the_pixels_inside_its_edges():
    boxes = np.array([[2, 3, 6, 8], [0, 0, 9, 9]], np.float32)
    tile = sheets.tile(example(boxes=boxes, box_visible=np.array([0.2, 0.0], np.float32)), 1)
    rim = {(y, x) for y in range(3, 8) for x in range(2, 6) if y in (3, 7) or x in (2, 5)}
    assert color_at(tile, sheets.PALETTE[1]) == rim
    assert len(color_at(tile, (100, 100, 100))) == GRAY.size - len(rim)


def test_a_box_of_the_whole_image_is_its_border():
    boxes = np.array([[0, 0, 12, 10]], np.float32)
    tile = sheets.tile(example(boxes=boxes, box_visible=np.ones(1, np.float32)), 3)
    rim = color_at(tile, sheets.PALETTE[1])
    assert {(0, 0), (29, 35), (1, 1), (28, 34)} <= rim
    assert (2, 2) not in rim


def test_a_keypoint_is_around_the_centre_of_its_pixel():
    points, visible = np.array([[7.0, 2.0], [1.0, 8.0]], np.float32), np.array([True, False])
    tile = sheets.tile(example(keypoints=points, keypoint_visible=visible), 9)
    dot = np.array(sorted(color_at(tile, sheets.WHITE)))
    np.testing.assert_allclose(dot.mean(0) + 0.5, [9 * 2.5, 9 * 7.5], atol=0.6)
    assert len(dot) > 20


def test_classes_of_pixels_are_tinted_and_the_background_is_not():
    mask = np.zeros((10, 12), np.int32)
    mask[4, 5], mask[0, 0] = 1, 2
    tile = sheets.tile(example(mask=mask), 1)
    assert tile[4, 5].tolist() == [(100 + c) // 2 for c in sheets.PALETTE[1]]
    assert tile[0, 0].tolist() == [(100 + c) // 2 for c in sheets.PALETTE[2]]
    assert len(color_at(tile, (100, 100, 100))) == GRAY.size - 2


def test_an_object_is_outlined_inside_its_pixels():
    shape = np.zeros((1, 10, 12), bool)
    shape[0, 2:6, 3:8] = True
    rim = {(y, x) for y in range(2, 6) for x in range(3, 8) if y in (2, 5) or x in (3, 7)}
    assert color_at(sheets.tile(example(box_mask=shape), 1), sheets.WHITE) == rim


def test_nothing_to_draw_is_the_image_enlarged_by_whole_pixels():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(sheets.tile({"image": image}, 3)[1::3, 1::3], image)


def test_a_column_has_its_examples_in_order_and_the_scale_of_the_first_column():
    levels = 60 * np.arange(4, dtype=np.uint8)[:, None, None, None]
    small, large = np.broadcast_to(levels, (4, 8, 8, 1)), np.broadcast_to(levels, (4, 16, 16, 1))
    (one, a), (two, b) = sheets.columns({"as stored": {"image": small}, "larger": {"image": large}})
    assert (one, two) == ("as stored", "larger")
    scale = plots.TILE // 8
    assert (a.width, b.width) == (8 * scale, 16 * scale)
    assert a.height == sheets.ROWS * (8 * scale + sheets.GAP) - sheets.GAP
    column = pixels(b)[:, 0]
    shown = [int(column[i * (16 * scale + sheets.GAP), 0]) for i in range(sheets.ROWS)]
    np.testing.assert_allclose(shown, [0, 60, 120, 180], atol=3)
    assert column[16 * scale, 3] == 0  # transparent between the examples
