"""A trained stage on disk is a model, with its preprocessing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from efficient_jax import members, models, records
from efficient_jax.training import checkpoint, state
from efficient_jax.types import UserError

SHAPE = (8, 8, 2)
DESCRIPTION = members.describe(
    ("cnn", {"width": 2, "dropout": 0.5}), ("cat", "dog", "owl"), SHAPE, (0.2, 0.4), (0.3, 0.1)
)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two stages, of which the first is finished; its average is not its last parameters."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "first").mkdir()
    (folder / "second").mkdir()
    module, _ = members.build(DESCRIPTION)
    variables = models.init(module, jax.random.key(0), SHAPE)
    last = state.create(jax.tree.map(jnp.zeros_like, variables), optax.identity()) | {"ema": variables}
    with checkpoint.open_manager(folder / "first") as manager:
        checkpoint.save(manager, 1, last, DESCRIPTION, None)
    records.write_json(folder / "config.json", {"stages": ["first", "second"]})
    records.write_json(folder / "first" / "result.json", {})
    return folder


@pytest.fixture(scope="module")
def classify(run):
    return members.classifier(str(run), batch=4)


def test_a_stored_stage_gives_the_probabilities_of_its_average(run, classify):
    apply, variables, description = members.load(run / "first", "here")
    assert description == DESCRIPTION
    fresh = models.init(members.build(DESCRIPTION)[0], jax.random.key(0), SHAPE)
    jax.tree.map(np.testing.assert_array_equal, variables, jax.device_get(fresh))
    (logits, _), _ = jax.jit(lambda images: apply(fresh, images, False, None))(IMAGES)
    found = classify(IMAGES)  # two batches, the second one filled up
    np.testing.assert_allclose(found, jax.nn.softmax(logits), atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-5)


def test_of_several_labels_each_has_a_probability_by_itself(run, classify, tmp_path):
    _, variables, _ = members.load(run / "first", "here")
    about = DESCRIPTION | {"multi_label": True, "thresholds": [0.5, 0.25, 0.75]}
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 1, {"ema": variables}, about, None)
    assert members.load(tmp_path, "here")[2] == about
    p = classify(IMAGES)  # softmax; its odds are those of the sigmoids, up to a factor for each image
    q = members.classifier(str(tmp_path), batch=4)(IMAGES).astype(np.float64)
    factors = (q / (1 - q)) / p
    np.testing.assert_allclose(factors, factors[:, :1] * np.ones(3), rtol=1e-3)
    assert (np.abs(q.sum(1) - 1) > 1e-2).all()


def test_pixels_are_normalised_with_the_stored_mean_and_deviation(run):
    apply, variables, _ = members.load(run / "first", "here")
    plain = models.make_apply(members.build(DESCRIPTION)[0], (0.0, 0.0), (1.0, 1.0))
    whitened = ((IMAGES / 255 - [0.2, 0.4]) / [0.3, 0.1]).astype(np.float32)
    (logits, _), _ = jax.jit(lambda images: apply(variables, images, False, None))(IMAGES)
    (expected, _), _ = jax.jit(lambda images: plain(variables, images, False, None))(whitened)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_no_images_no_probabilities(classify):
    assert classify(IMAGES[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (IMAGES / 255, "float64 [5, 8, 8, 2]"),
        (IMAGES[:, :7], "uint8 [5, 7, 8, 2]"),
        (IMAGES[0], "uint8 [8, 8, 2]"),
    ],
)
def test_other_images_are_said(classify, images, got):
    with pytest.raises(UserError) as error:
        classify(images)
    assert str(error.value) == f"classify: got {got}, want uint8 [n, 8, 8, 2], or a list of files or images of any size"


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """A stage trained on squashed pictures of 8 x 8 pixels."""
    folder = tmp_path_factory.mktemp("colour")
    framing = {"fit": "squash", "crop": 1.0, "interpolation": "bilinear"}
    about = members.describe(("cnn", {"width": 2}), ("cat", "dog"), (8, 8, 3), (0.5,) * 3, (0.2,) * 3, framing)
    variables = models.init(members.build(about)[0], jax.random.key(0), (8, 8, 3))
    with checkpoint.open_manager(folder) as manager:
        checkpoint.save(manager, 1, {"ema": variables}, about, None)
    return members.classifier(str(folder), batch=4)


def test_pictures_of_any_size_are_framed_as_in_training(colour, tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    small = np.asarray(Image.fromarray(large).resize((8, 8), Image.Resampling.BILINEAR))
    found = colour([str(tmp_path / "large.png"), tmp_path / "large.png", large, small])
    np.testing.assert_allclose(found, np.repeat(colour(small[None]), 4, axis=0), atol=1e-6)


def test_pictures_that_cannot_be_read_are_named(colour, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"^classify: 1 unreadable image: .*broken\.jpg \(not an image\)$"):
        colour([tmp_path / "broken.jpg"])


def test_a_run_means_its_last_finished_stage(tmp_path):
    records.write_json(tmp_path / "config.json", {"stages": ["z", "a", "later"]})
    for name in ("z", "a"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        records.write_json(tmp_path / name / "result.json", {})
    assert members.stage_folder(tmp_path, "here") == tmp_path / "a"
    assert members.stage_folder(tmp_path / "z", "here") == tmp_path / "z"


@pytest.mark.parametrize("path", ["second", "nowhere"])
def test_a_path_without_a_trained_stage_is_said(run, path):
    with pytest.raises(UserError, match=r"^load: '.*' is neither a run nor a stage of one$"):
        members.classifier(str(run / path))


def test_a_run_without_a_finished_stage_is_said(tmp_path):
    records.write_json(tmp_path / "config.json", {"stages": ["first"]})
    with pytest.raises(UserError, match=r"^here: no stage of '.*' is finished; train it first$"):
        members.stage_folder(tmp_path, "here")
