"""predict: new pictures, by trained members."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

import efficient_jax
from efficient_jax.commands.predict import predict
from efficient_jax.errors import UserError
from efficient_jax.inference import predictions
from efficient_jax.inference.tta import VIEWS
from efficient_jax.training.classifier import network
from efficient_jax.training.trained import Trained
from tests import tiny_run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two dark and two bright pictures of other sizes, and two that are none."""
    folder = tmp_path_factory.mktemp("new") / "a folder"
    (folder / "deep").mkdir(parents=True)
    for name, level in {"a.png": 20, "deep/b.jpg": 30, "c.png": 220, "deep/d.png": 210}.items():
        noise = np.random.default_rng(level).integers(0, 30, (12, 9), np.uint8)
        Image.fromarray(noise + np.uint8(level)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "<script>.png").write_bytes(b"")
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_has_its_classes(teacher, pictures, tmp_path, capsys):
    predict(members=str(teacher), images=str(pictures), out=str(tmp_path / "p.csv"), top=2)
    found = rows(tmp_path / "p.csv")
    assert [row["image"].removeprefix(f"{pictures}/") for row in found] == [
        "a.png",
        "c.png",
        "deep/b.jpg",
        "deep/d.png",
    ]
    assert [row["class"] for row in found] == ["0", "2", "0", "2"]
    expected = efficient_jax.load(str(teacher))([row["image"] for row in found])
    np.testing.assert_allclose([float(row["confidence"]) for row in found], expected.max(1), atol=1e-6)
    np.testing.assert_allclose([float(row["confidence2"]) for row in found], np.sort(expected)[:, -2], atol=1e-6)
    assert re.search(r"left out 2 unreadable images: .*<script>\.png.*broken\.jpg", capsys.readouterr().out)
    stored = predictions.read(tmp_path / "p.csv", "test")  # `evaluate` takes it as a member
    np.testing.assert_allclose(stored.probabilities, expected, atol=1e-6)


def test_images_to_label_are_on_a_page(teacher, pictures, tmp_path):
    both = f"{teacher},{teacher}"
    predict(members=both, images=str(pictures), out=str(tmp_path / "p.npz"), rank="disagreement", count=3)
    found = rows(tmp_path / "p_to_label.csv")
    assert len(found) == 3
    assert {float(row["score"]) for row in found} == {0.0}  # one that says the same twice
    page = (tmp_path / "p_to_label.html").read_text()
    assert page.count("<img") == 3
    assert "<script>" not in page


def test_the_page_shows_margin_and_probabilities(teacher, pictures, tmp_path):
    """The margin is the difference of the two highest probabilities, small where the members are unsure."""
    predict(members=str(teacher), images=str(pictures), out=str(tmp_path / "p.csv"), rank="margin", count=3)
    probabilities = {row["image"]: np.array([row[f"p({k})"] for k in "012"], float) for row in rows(tmp_path / "p.csv")}
    found, page = rows(tmp_path / "p_to_label.csv"), (tmp_path / "p_to_label.html").read_text()
    for row in found:
        third, second, first = np.sort(probabilities[row["image"]])
        assert float(row["margin"]) == pytest.approx(first - second, abs=1e-6)
        assert float(row["score"]) == pytest.approx(1 - (first - second), abs=1e-6)
        assert float(row["confidence2"]) == pytest.approx(second, abs=1e-6)
        for text in (f"margin {first - second:.3f}", *(f" {100 * p:.1f}%" for p in (first, second, third))):
            assert text in page
    assert [float(row["margin"]) for row in found] == sorted(float(row["margin"]) for row in found)


def test_views_are_averaged(teacher):
    """Over mirror images the answer for a picture and its mirror image is the same; it lies between both."""
    images = np.random.default_rng(0).integers(0, 256, (4, *tiny_run.SHAPE), np.uint8)
    weights = Trained.open(str(teacher), "test")
    plain, mean = (network(weights, 4, VIEWS[name]).predict for name in ("none", "flips"))
    np.testing.assert_array_equal(mean(images)[0], mean(images[:, :, ::-1])[0])
    np.testing.assert_allclose(mean(images)[0], (plain(images)[0] + plain(images[:, :, ::-1])[0]) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"members": ""}, "predict: --members=RUN"),
        ({"images": ""}, "predict: --images=FOLDER is missing"),
        ({"images": "nowhere"}, "--images: 'nowhere' is not there"),
        ({"images": "{empty}"}, "--images: no images in"),
        ({"out": "p.txt"}, r"--out: 'p\.txt' is neither a \.csv nor an \.npz"),
        ({"top": 0}, "--top: 0 is too small; want 1 or more"),
        ({"rank": "entropie"}, "--rank: unknown name 'entropie'; did you mean 'entropy'"),
        ({"rank": "disagreement"}, "give two or more"),
        ({"tta": "flip"}, "--tta: unknown name 'flip'; did you mean 'flips'"),
    ],
)
def test_what_cannot_be_predicted_is_said(teacher, pictures, tmp_path, flags, message):
    changes = {name: value.format(empty=tmp_path) if isinstance(value, str) else value for name, value in flags.items()}
    with pytest.raises(UserError, match=message):
        predict(**{"members": str(teacher), "images": str(pictures), "out": str(tmp_path / "p.csv")} | changes)
