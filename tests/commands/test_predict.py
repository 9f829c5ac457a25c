"""predict: new images, by trained members."""

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
from efficient_jax.metrics import conformal
from efficient_jax.training.classifier import network
from efficient_jax.training.trained import Trained
from tests import tiny_run


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    """Two dark and two bright images of other sizes, and two that are none."""
    folder = tmp_path_factory.mktemp("new") / "a folder"
    (folder / "deep").mkdir(parents=True)
    for name, level in {"a.png": 20, "deep/b.jpg": 30, "c.png": 220, "deep/d.png": 210}.items():
        noise = np.random.default_rng(level).integers(0, 30, (12, 9), np.uint8)
        Image.fromarray(noise + np.uint8(level)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "<script>.png").write_bytes(b"")
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_has_its_classes(teacher, image_folder, tmp_path, capsys):
    predict(members=str(teacher), images=str(image_folder), out=str(tmp_path / "p.csv"), top=2)
    found = rows(tmp_path / "p.csv")
    assert [row["image"].removeprefix(f"{image_folder}/") for row in found] == [
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


def test_sets_are_calibrated_with_the_test_images(teacher, image_folder, tmp_path, capsys):
    predict(members=str(teacher), images=str(image_folder), out=str(tmp_path / "p.csv"), coverage=0.8)
    found = rows(tmp_path / "p.csv")
    test = predictions.read(teacher / "predictions.npz", "test")
    fitted = conformal.calibrate(test.probabilities, test.labels, 0.8)
    p = np.array([[float(row[f"p({name})"]) for name in test.classes] for row in found])
    expected = [
        {name for name, inside in zip(test.classes, row, strict=True) if inside} for row in 1 - p <= fitted.limits
    ]
    assert [set(row["set"].split("|")) - {""} for row in found] == expected
    assert re.search(
        rf"sets calibrated with {len(test.ids)} test images: .*% to .*% contain the true class", capsys.readouterr().out
    )
    stored = predictions.read(tmp_path / "p.csv", "test")
    assert stored.classes == test.classes
    classify = efficient_jax.load(str(teacher))
    assert list(map(set, classify.predict_set([row["image"] for row in found], coverage=0.8))) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coverage": 0.9999}, r"^--coverage: coverage: \d+ calibration images cannot promise 0\.9999"),
        ({"coverage": 0.9, "tta": "flips"}, "^--coverage: test images were predicted without views"),
        ({"coverage": 0.9, "out": "p.npz"}, "^--coverage: .npz files have no column `set`"),
        ({"coverage": 0.9, "members": "efficientnet-lite0"}, "^--coverage: packaged weights have no test images"),
    ],
)
def test_sets_that_cannot_be_promised_are_refused(teacher, image_folder, tmp_path, settings, message):
    out = tmp_path / settings.pop("out", "p.csv")
    with pytest.raises(UserError, match=message):
        predict(**{"members": str(teacher), "images": str(image_folder), "out": str(out)} | settings)


def test_views_are_averaged(teacher):
    """Over mirror images the answer for an image and its mirror image is the same; it lies between both."""
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
        ({"tta": "flip"}, "--tta: unknown name 'flip'; did you mean 'flips'"),
    ],
)
def test_what_cannot_be_predicted_is_said(teacher, image_folder, tmp_path, flags, message):
    changes = {name: value.format(empty=tmp_path) if isinstance(value, str) else value for name, value in flags.items()}
    with pytest.raises(UserError, match=message):
        predict(**{"members": str(teacher), "images": str(image_folder), "out": str(tmp_path / "p.csv")} | changes)
