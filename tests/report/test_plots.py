"""Counts against scikit-learn and by hand; images by decoding them."""

import base64
import io

import numpy as np
from PIL import Image
from sklearn.metrics import confusion_matrix

from efficient_jax.report import plots


def decoded(embedded):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(embedded.src.split(",")[1]))))


def test_confusion_is_scikit_learns():
    label, predicted = np.random.default_rng(0).integers(0, 5, (2, 200))
    np.testing.assert_array_equal(plots.confusion(label, predicted, 5), confusion_matrix(label, predicted))


def test_most_confused_leaves_out_the_diagonal_and_zeros():
    counts = np.array([[9, 2, 0], [0, 9, 5], [0, 0, 9]])
    assert plots.most_confused(counts) == [(1, 2, 5), (0, 1, 2)]


def test_heat_map_is_blue_on_the_diagonal_and_transparent_where_empty():
    pixels = decoded(plots.heat_map(np.array([[4, 0], [4, 0]]))).astype(int)
    blue, orange = pixels[0, 0], pixels[1, 0]
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    assert pixels[:, :, 3].tolist() == [[255, 0], [255, 0]]


def test_contact_sheet_has_a_column_per_image_with_its_versions_below():
    raw = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 4, 4, 1), np.uint8)
    views = raw[:, None] + np.array([100, 200], np.uint8)[:, None, None, None]
    columns, changed = plots.contact_sheet(raw, views)
    assert changed
    assert [decoded(column)[[0, 6, 11], 0, 0].tolist() for column in columns] == [
        [0, 100, 200],
        [1, 101, 201],
        [2, 102, 202],
    ]
    assert decoded(columns[0]).shape == (3 * 4 + 2 + 1, 4, 4)
    assert decoded(columns[0])[4:6, :, 3].max() == 0  # transparent between them
    assert columns[0].width == 24 * 4  # 4 pixels shown as 96


def test_versions_that_equal_the_image_are_left_out_and_equal_versions_are_one():
    raw = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 1), np.uint8)
    columns, changed = plots.contact_sheet(raw, np.stack([raw] * 3, axis=1))
    assert (len(columns), changed, decoded(columns[0]).shape) == (2, False, (4, 4, 4))
    columns, changed = plots.contact_sheet(raw, np.stack([255 - raw] * 3, axis=1))
    assert (changed, decoded(columns[0]).shape) == (True, (4 + 2 + 4, 4, 4))


def test_large_images_are_shrunk_and_small_ones_enlarged_by_a_whole_factor():
    assert decoded(plots.single(np.zeros((300, 150, 3), np.uint8))).shape[:2] == (96, 48)
    assert plots.single(np.zeros((28, 28, 1), np.uint8)).width == 84
