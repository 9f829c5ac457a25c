"""A trained network predicts images of any size."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

import efficient_jax
from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.models.spec import ModelSpec
from efficient_jax.training import checkpoint
from efficient_jax.training.classifier import Classifier, program_size
from efficient_jax.training.trained import Trained
from tests.models.test_parity import needs_package
from tests.training.conftest import SPEC

IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SPEC.image_shape), np.uint8)


@pytest.fixture(scope="module")
def classify(run):
    return Classifier.open(str(run), batch=4)


def test_probabilities_are_those_of_the_stored_average(run, classify):
    weights = Trained.open(str(run), "here")
    _, apply = weights.spec.build()
    (logits, _), _ = jax.jit(lambda images: apply(weights.variables, images, False, None))(IMAGES)
    found = classify(IMAGES)  # two batches, the second one filled up
    np.testing.assert_allclose(found, jax.nn.softmax(logits), atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-5)


def test_of_several_labels_each_has_a_probability_by_itself(run, classify, tmp_path):
    variables = Trained.open(str(run), "here").variables
    spec = dataclasses.replace(SPEC, task="multi_label", thresholds=(0.5, 0.25, 0.75))
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 1, {"ema": variables}, spec, None)
    p = classify(IMAGES)  # softmax; its odds are those of the sigmoids, up to a factor for each image
    several = Classifier.open(str(tmp_path), batch=4)
    assert several.thresholds == spec.thresholds
    q = several(IMAGES).astype(np.float64)
    factors = (q / (1 - q)) / p
    np.testing.assert_allclose(factors, factors[:, :1] * np.ones(3), rtol=1e-3)
    assert (np.abs(q.sum(1) - 1) > 1e-2).all()


def test_no_images_no_probabilities(classify):
    assert classify(IMAGES[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (IMAGES / 255, "float64 [5, 8, 8, 2]"),
        (IMAGES[:, :7], "uint8 [5, 7, 8, 2]"),
        (IMAGES[None], "uint8 [1, 5, 8, 8, 2]"),
        (IMAGES[0] / 255, "float64 [8, 8, 2]"),
        (5, "5"),
    ],
)
def test_other_images_are_said(classify, images, got):
    with pytest.raises(UserError) as error:
        classify(images)
    want = "uint8 [8 8 2] or [n 8 8 2], a file, an image of any size, or a list of these"
    assert str(error.value) == f"predict: got {got}; want {want}"


def test_a_classifier_says_what_it_knows(run, classify):
    assert classify.classes == ("cat", "dog", "owl")
    assert classify.image_size == (8, 8)
    assert classify.thresholds == ()
    assert isinstance(efficient_jax.load(run), Classifier)


def test_one_image_has_the_probabilities_that_it_has_among_others(classify):
    np.testing.assert_allclose(classify.predict(IMAGES[1]), classify.predict(IMAGES)[1], atol=1e-6)
    np.testing.assert_array_equal(classify(jnp.asarray(IMAGES[1])), classify.predict(IMAGES[1]))


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """A stage trained on squashed images of 8 x 8 pixels."""
    folder = tmp_path_factory.mktemp("colour")
    framing = {"fit": "squash", "crop": 1.0, "interpolation": "bilinear"}
    spec = ModelSpec("cnn", {"width": 2}, ("cat", "dog"), (8, 8, 3), (0.5,) * 3, (0.2,) * 3, framing)
    variables = models.init(spec.build()[0], jax.random.key(0), (8, 8, 3))
    with checkpoint.open_manager(folder) as manager:
        checkpoint.save(manager, 1, {"ema": variables}, spec, None)
    return Classifier.open(str(folder), batch=4)


def test_images_of_any_size_are_framed_as_in_training(colour, tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    file = tmp_path / "large.png"
    Image.fromarray(large).save(file)
    small = np.asarray(Image.fromarray(large).resize((8, 8), Image.Resampling.BILINEAR))
    expected = colour(small[None])
    many = [str(file), file, file.read_bytes(), Image.fromarray(large), large, small]
    np.testing.assert_allclose(colour.predict(many), np.repeat(expected, 6, axis=0), atol=1e-6)
    np.testing.assert_allclose(colour.predict(iter(many[:2])), np.repeat(expected, 2, axis=0), atol=1e-6)
    np.testing.assert_allclose(colour.predict(np.stack([large] * 2)), np.repeat(expected, 2, axis=0), atol=1e-6)
    for one in many:
        np.testing.assert_allclose(colour.predict(one), expected[0], atol=1e-6)
    assert colour.predict([]).shape == colour.predict(np.zeros((0, 20, 30, 3), np.uint8)).shape == (0, 2)


def test_an_image_of_pil_is_what_its_file_is(colour, tmp_path):
    """Turned by EXIF, with transparency, a palette, 16 bits, grey; and it stays as it is."""
    rng = np.random.default_rng(1)
    pixels, file = rng.integers(0, 256, (20, 30, 4), np.uint8), tmp_path / "a.png"
    turned = Image.Exif()
    turned[0x0112] = 6
    grey16 = Image.fromarray(rng.integers(0, 65536, (20, 30)).astype(np.uint16))
    cases = [(Image.fromarray(pixels[..., :3]), {"exif": turned}), (Image.fromarray(pixels), {}), (grey16, {})]
    cases += [(Image.fromarray(pixels[..., :3]).quantize(9), {}), (Image.fromarray(pixels[..., 0]), {})]
    for image, how in cases:
        image.save(file, **how)
        with Image.open(file) as opened:
            found, size = colour.predict(opened), opened.size
            np.testing.assert_array_equal(found, colour.predict(file))
            assert opened.size == size == (30, 20)
    np.testing.assert_array_equal(colour.predict(pixels[..., 0]), colour.predict(file))  # an array [h w]


def test_an_image_whose_white_is_unknown_is_said(colour):
    with pytest.raises(UserError, match=r"^predict: image 1: 32-bit pixels"):
        colour.predict([np.zeros((8, 8, 3), np.uint8), Image.new("F", (8, 8))])


def test_images_that_cannot_be_read_are_named(colour, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"^predict: 1 unreadable image: .*broken\.jpg \(not an image\)$"):
        colour([tmp_path / "broken.jpg"])


def test_packaged_weights_classify_a_photo():
    needs_package("efficientnet-lite0")
    classify = efficient_jax.load("efficientnet-lite0")
    assert classify.image_size == (224, 224)
    probabilities = classify.predict(Path(sklearn.datasets.__file__).with_name("images") / "china.jpg")
    assert classify.classes[probabilities.argmax()] == "palace"
    assert probabilities.shape == (1000,)
    np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize(("count", "size"), [(0, 1), (1, 1), (2, 4), (4, 4), (5, 16), (64, 64), (65, 100), (100, 100)])
def test_one_image_does_not_cost_as_much_as_a_batch(count, size):
    assert program_size(count, 100) == size
