"""Trained weights on disk, by name."""

import jax
import numpy as np
import pytest

import efficient_jax
from efficient_jax import files, models
from efficient_jax.errors import UserError
from efficient_jax.models.spec import ModelSpec
from efficient_jax.training import checkpoint, trained
from efficient_jax.training.trained import Trained
from tests.training.conftest import SPEC

IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SPEC.image_shape), np.uint8)


def test_a_stored_stage_is_its_average_and_its_specification(run):
    opened = Trained.open(str(run), "here")
    fresh = models.init(SPEC.build()[0], jax.random.key(0), SPEC.image_shape)
    assert (opened.spec, opened.folder, opened.step) == (SPEC, run / "first", 1)
    jax.tree.map(np.testing.assert_array_equal, opened.variables, jax.device_get(fresh))


def test_a_step_behind_the_at_is_a_checkpoint_of_the_stage(run, tmp_path):
    variables = Trained.open(str(run), "here").variables
    with checkpoint.open_manager(tmp_path / "a@b") as manager:
        for step in (1, 2):
            ema = jax.tree.map(lambda leaf, step=step: leaf * 0 + step, variables)
            checkpoint.save(manager, step, {"ema": ema}, SPEC, None)
    for name, step in (("a@b", 2), ("a@b@1", 1)):  # the folder itself has an @
        opened = Trained.open(str(tmp_path / name), "here")
        assert opened.step == step
        np.testing.assert_array_equal(opened.variables["params"]["head"]["bias"], step)
    with pytest.raises(UserError, match=r"^here: .* has no checkpoint of step 3; it has 1, 2$"):
        Trained.open(str(tmp_path / "a@b@3"), "here")
    with pytest.raises(UserError, match=r"^here: '.*a@b@x' wants the number of a step behind the @"):
        Trained.open(str(tmp_path / "a@b@x"), "here")


def test_pixels_are_normalised_with_the_stored_mean_and_deviation(run):
    variables = Trained.open(str(run), "here").variables
    module, apply = SPEC.build()
    plain = models.make_apply(module, (0.0, 0.0), (1.0, 1.0))
    whitened = ((IMAGES / 255 - [0.2, 0.4]) / [0.3, 0.1]).astype(np.float32)
    (logits, _), _ = jax.jit(lambda images: apply(variables, images, False, None))(IMAGES)
    (expected, _), _ = jax.jit(lambda images: plain(variables, images, False, None))(whitened)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_run_means_its_last_finished_stage(tmp_path):
    files.write_json(tmp_path / "config.json", {"stages": ["z", "a", "later"]})
    for name in ("z", "a"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        files.write_json(tmp_path / name / "result.json", {})
    assert trained.stage_folder(tmp_path, "here") == tmp_path / "a"
    assert trained.stage_folder(tmp_path / "z", "here") == tmp_path / "z"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("{run}/second", "stage 'second' of '{run}' is not trained yet; train it first"),
        ("{run}/frist", "'{run}' has no stage 'frist'; did you mean 'first'?"),
        ("{run}/x", "'{run}' has no stage 'x'; there is: first, second"),
        ("{run}s", "'{run}s' is neither a run nor a stage of one; did you mean '{run}'?"),
        ("{run}s/first", "'{run}s/first' is neither a run nor a stage of one; did you mean '{run}/first'?"),
        ("/nowhere/run/first", "'/nowhere/run/first' is neither a run nor a stage of one"),
        ("efficientnet-lite5", "'efficientnet-lite5' is neither a run nor a stage of one; did you mean '{lite}'?"),
    ],
)
def test_a_path_without_a_trained_stage_is_said_with_the_nearest_name(run, path, said):
    with pytest.raises(UserError) as error:
        efficient_jax.load(path.format(run=run))
    assert str(error.value) == "load: " + said.format(run=run, lite="efficientnet-lite2")


def test_packaged_weights_have_their_own_classes_and_preprocessing(monkeypatch, tmp_path):
    def zeros(_, variables, image, where):
        assert (image, where) == ((260, 260), "efficientnet-lite2")
        report = trained.pretrained.Report("", (), (), (), (), "")
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables), report

    monkeypatch.setattr(trained.pretrained, "read", lambda _: {"_fc.weight": np.zeros((1000, 1280))})
    monkeypatch.setattr(trained.pretrained.files, "locate", lambda _: tmp_path / "lite2.pth")
    monkeypatch.setattr(trained.pretrained, "load", zeros)
    opened = Trained.open("efficientnet-lite2", "here")
    model = "efficientnet", {"variant": "lite2"}
    classes, mean, std = trained.pretrained.imagenet_classes(), (127 / 255,) * 3, (128 / 255,) * 3
    framing = {"fit": "crop", "crop": 260 / 292, "interpolation": "bicubic"}
    assert opened.spec == ModelSpec(*model, classes, (260, 260, 3), mean, std, framing)
    assert opened.variables["params"]["head"]["kernel"].shape == (1280, 1000)


def test_published_weights_without_a_classifier_are_a_start_only(monkeypatch):
    monkeypatch.setattr(trained.pretrained, "read", lambda _: {"pos_embed": np.zeros((1, 1, 1))})
    name = "vit_small_patch14_dinov2.lvd142m"
    with pytest.raises(UserError, match=f"^here: '{name}' has no classifier; give it to `init` of a stage"):
        Trained.open(name, "here")


def test_the_classes_are_imagenets_in_their_order():
    classes = trained.pretrained.imagenet_classes()
    known = {0: "tench", 207: "golden retriever", 281: "tabby", 610: "jersey", 698: "palace", 999: "toilet tissue"}
    assert {i: classes[i] for i in known} == known
    assert len({name.lower() for name in classes}) == len(classes) == 1000


def test_a_run_without_a_finished_stage_is_said(tmp_path):
    files.write_json(tmp_path / "config.json", {"stages": ["first"]})
    with pytest.raises(UserError, match=r"^here: no stage of '.*' is finished; train it first$"):
        trained.stage_folder(tmp_path, "here")
