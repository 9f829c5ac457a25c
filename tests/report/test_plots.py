"""Counts against scikit-learn and by hand; pictures by decoding them."""

import base64
import io
import xml.etree.ElementTree

import numpy as np
from PIL import Image
from sklearn.metrics import confusion_matrix

from efficient_jax.report import plots


def decoded(picture):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.src.split(",")[1]))))


def test_confusion_is_scikit_learns():
    label, predicted = np.random.default_rng(0).integers(0, 5, (2, 200))
    np.testing.assert_array_equal(plots.confusion(label, predicted, 5), confusion_matrix(label, predicted))


def test_most_confused_leaves_out_the_diagonal_and_zeros():
    counts = np.array([[9, 2, 0], [0, 9, 5], [0, 0, 9]])
    assert plots.most_confused(counts) == [(1, 2, 5), (0, 1, 2)]


def test_heat_map_is_blue_on_the_diagonal_and_white_where_empty():
    pixels = decoded(plots.heat_map(np.array([[4, 0], [4, 0]])))
    assert pixels[0, 0].tolist() == [0x00, 0x72, 0xB2]
    assert pixels[1, 0].tolist() == [0xD5, 0x5E, 0x00]
    assert pixels[:, 1].tolist() == [[255, 255, 255]] * 2


def test_contact_sheet_has_a_column_per_image_with_its_versions_below():
    raw = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 4, 4, 1), np.uint8)
    views = raw[:, None] + np.array([100, 200], np.uint8)[:, None, None, None]
    sheet = plots.contact_sheet(raw, views)
    pixels = decoded(sheet)
    assert pixels.shape == (3 * 4 + 2 + 3, 3 * 4 + 2, 3)
    assert pixels[[0, 8, 13]][:, [0, 5, 10], 0].tolist() == [[0, 1, 2], [100, 101, 102], [200, 201, 202]]
    assert sheet.width == 24 * pixels.shape[1]  # 4 pixels shown as 96


def test_large_images_are_shrunk_and_small_ones_enlarged_by_a_whole_factor():
    assert decoded(plots.single(np.zeros((300, 150, 3), np.uint8))).shape == (96, 48, 3)
    assert plots.single(np.zeros((28, 28, 1), np.uint8)).width == 84


def test_smooth_takes_means_of_stretches():
    values = np.arange(2.0 * plots.CURVE_POINTS)
    np.testing.assert_allclose(plots.smooth(values), values.reshape(-1, 2).mean(axis=1))


def test_curves_keep_any_name_as_text():
    columns = {"step": np.array([1.0, 2.0]), "loss": np.array([2.0, np.nan])}
    uri = plots.learning_curves({"$\\frac<b>$": columns, "日本": columns}, "loss")
    svg = xml.etree.ElementTree.fromstring(base64.b64decode(uri.split(",")[1]))
    texts = {element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"$\\frac<b>$", "日本", "steps"} <= texts


def test_no_curve_without_a_number():
    assert plots.learning_curves({"a": {}, "b": {"step": np.ones(1), "loss": np.full(1, np.nan)}}, "loss") is None
