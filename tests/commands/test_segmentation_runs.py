"""evaluate, export and explain of a segmentation run: what works, and one line on what does not."""

import json
import re

import jax
import numpy as np
import pytest

import efficient_jax
from efficient_jax.commands.evaluate import evaluate
from efficient_jax.commands.explain import explain
from efficient_jax.commands.export import export
from efficient_jax.errors import UserError
from efficient_jax.export.formats import FORMATS
from efficient_jax.files import read_json
from efficient_jax.models import dense, pyramid
from tests import tiny_maps


@pytest.fixture(scope="module")
def evaluated(segmented, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate(members=f"{segmented}/teacher,{segmented}/student", out=str(folder))
    return folder


def test_evaluated_members_have_the_figures_of_their_stages(evaluated, segmented):
    about = read_json(evaluated / "evaluation.json")["members"]
    for stage in ("teacher", "student"):
        test = read_json(segmented / stage / "result.json")["test"]
        found = about[f"{segmented}/{stage}"]
        assert {name: found[name] for name in ("mean_iou", "mean_iou_interval", "correct", "n")} == {
            name: test[name] for name in ("mean_iou", "mean_iou_interval", "correct", "n")
        }
        assert list(found["iou"]) == list(tiny_maps.CLASSES)
    assert "soft vote of 2" in about


def test_the_page_of_an_evaluation_has_intervals(evaluated, segmented):
    text = (evaluated / "evaluation.html").read_text()
    test = read_json(segmented / "teacher/result.json")["test"]
    low, high = test["mean_iou_interval"]
    assert f"{100 * test['mean_iou']:.2f} [{100 * low:.2f}, {100 * high:.2f}]" in text
    assert "test mean IoU, % [95% interval]" in text
    assert text.count("Test images with the largest loss") == 3  # of two stages and their vote


def test_views_and_a_soup_are_evaluated(segmented, tmp_path):
    evaluate(members=f"{segmented}/teacher,{segmented}/student", soup="uniform", tta="d4:hard", out=str(tmp_path))
    about = read_json(tmp_path / "evaluation.json")["members"]
    assert len(about) == 4
    assert all(0.3 < member["mean_iou"] <= 1 for member in about.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"turn": "15"}, "^--turn: true maps of pixels are not turned with their images; evaluate without it$"),
        ({"coverage": 0.9}, "^--coverage: sets are for images of one class; an image has a class for each pixel$"),
    ],
)
def test_what_evaluate_cannot_do_is_said(segmented, settings, message):
    with pytest.raises(UserError, match=message):
        evaluate(members=str(segmented), **settings)


def test_maps_of_files_have_the_interval_of_their_images(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("truth", "a"):
        (tmp_path / name).mkdir()
        for i in range(5):
            np.savez(tmp_path / name / f"{i}.npz", rng.integers(0, 3, (6, 6)))
    evaluate(members=str(tmp_path / "a"), truth=str(tmp_path / "truth"), out=str(tmp_path / "out"))
    (found,) = read_json(tmp_path / "out/evaluation.json")["members"].values()
    low, high = found["mean_iou_interval"]
    assert low < found["mean_iou"] < high
    assert found["n"] == 180


def resize_known(x, size):
    return jax.image.resize(x, (len(x), *size, x.shape[-1]), "bilinear")


@pytest.mark.parametrize("kind", ["stablehlo", "onnx"])
def test_an_exported_program_has_the_probabilities_of_pixels(segmented, tmp_path, kind):
    export(members=str(segmented), format=kind, out=str(tmp_path / "out"))
    pixels = np.random.default_rng(0).integers(0, 256, (2, tiny_maps.SIZE, tiny_maps.SIZE, 1), np.uint8)
    content = (tmp_path / "out" / FORMATS[kind].file).read_bytes()
    np.testing.assert_allclose(FORMATS[kind].run(content, pixels), efficient_jax.load(segmented)(pixels), atol=1e-5)
    card = (tmp_path / "out/README.md").read_text()
    assert f"float32 [n {tiny_maps.SIZE} {tiny_maps.SIZE} 3]" in card
    assert "## Mean IoU" in card
    assert "- Mean IoU on images that are made in another way" in card
    assert "ccuracy" not in card


def test_a_network_for_a_known_number_of_images_only_is_said(segmented, tmp_path, monkeypatch):
    for module in (pyramid, dense):
        monkeypatch.setattr(module, "resize", resize_known)
    with pytest.raises(
        UserError, match=r"^--format: stablehlo holds a program for any number of images, .*safetensors$"
    ):
        export(members=str(segmented), format="stablehlo", out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_exported_weights_with_a_decoder_are_not_called_timms(segmented, tmp_path):
    export(members=str(segmented), format="safetensors", out=str(tmp_path / "out"))
    about = json.loads((tmp_path / "out/config.json").read_text())
    assert about["architecture"].startswith("efficient_jax/")


def test_explain_draws_maps_of_the_predicted_classes(segmented, tmp_path):
    explain(members=f"{segmented}/teacher", layer="stage1", workdir=str(tmp_path))
    text = (tmp_path / "explain.html").read_text()
    assert "12 of the 12 test images" not in text  # there are validation images
    assert "On 4 of the 4 validation images" in text
    shown = re.findall(r'class="pixels"[^>]* alt="([^"]+)"', text)
    assert shown.count("true") == shown.count("predicted") == 4
    maps = [each for each in shown if each.endswith("of the pixels")]
    assert {each.split(",")[0] for each in maps} == {"dark", "bright"}  # and not the background
    assert "background, not tinted" in text
    found = read_json(tmp_path / "explain.json")[f"{segmented}/teacher"]
    assert found["pointing_game"]["images"] == 4
    assert set(found["rank_correlation_with_random_weights"]) == {"the head", "the upper half", "all layers"}


def test_explain_takes_images_without_masks(segmented, tmp_path):
    explain(members=f"{segmented}/teacher", images=f"{segmented}/../drawn/images", workdir=str(tmp_path))
    text = (tmp_path / "explain.html").read_text()
    assert 'alt="true"' not in text
    assert text.count('alt="predicted"') == 44
    assert "Do they point at the object?" not in text
