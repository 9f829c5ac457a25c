"""export: files that other programs load, each with its config and its card."""

import json

import numpy as np
import pytest
import safetensors.numpy

from efficient_jax.commands.export import export
from efficient_jax.errors import UserError
from efficient_jax.export import formats
from efficient_jax.export.calibration import fitted
from efficient_jax.inference import predictions
from efficient_jax.metrics import calibration
from efficient_jax.training.trained import Trained
from tests.export import stages

SPEC = stages.spec_of(
    "mlp", {"width": 4}, (6, 6, 1), framing={"fit": "crop", "crop": 0.875, "interpolation": "bicubic"}
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return stages.saved(tmp_path_factory.mktemp("run") / "run", "student", SPEC)


def test_weights_come_with_config_and_card(stage, tmp_path, capsys):
    out = tmp_path / "out"
    export(members=str(stage), format="safetensors", out=str(out))
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert safetensors.numpy.load_file(out / "model.safetensors")["head.weight"].shape == (3, 4)
    assert json.loads((out / "config.json").read_text())["label_names"] == ["dark", "grey", "bright"]
    printed = capsys.readouterr().out
    assert "names of the weights: ours: timm has no such mlp" in printed
    assert f"temperature: 1: {stage} has no validation images" in printed
    export(members=str(stage), format="safetensors", out=str(out))  # again


def test_a_card_says_what_a_user_must_know(stage, tmp_path):
    export(members=str(stage), format="safetensors", out=str(tmp_path))
    card = (tmp_path / "README.md").read_text()
    for line in (
        "uint8, 6 x 6 pixels, 1 channel, resized by bicubic interpolation, `crop`, the middle 0.875",
        "classes: dark, grey, bright",
        "images: 12 training, 30 test",
        "90.00 [74.38, 96.54]",  # Wilson's interval of 27 of 30
        "stage `student`, method `supervised`, 5 steps, 12 labels, seed 3",
        "`python launch.py train --config=x.py`",
        "efficientnet-lite0: published EfficientNet-Lite weights are Apache-2.0",
        'safetensors.numpy.load_file("model.safetensors")',
    ):
        assert line in card, line


def test_thresholds_are_in_config_and_card(tmp_path):
    spec = stages.spec_of("mlp", {"width": 4}, (6, 6, 1), task="multi_label", thresholds=(0.25, 0.5, 0.75))
    stage = stages.saved(tmp_path / "run", "student", spec)
    export(members=f"{stage}@5", format="safetensors", out=str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["efficient_jax"]["thresholds"] == [
        0.25,
        0.5,
        0.75,
    ]
    assert "thresholds: 0.25, 0.5, 0.75, in the order of the classes" in (tmp_path / "out" / "README.md").read_text()


def test_the_temperature_is_fitted_to_the_stored_validation_predictions(tmp_path):
    stage = stages.saved(tmp_path / "run", "student", SPEC)
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(3, 0.3), 200).astype(np.float32)
    labels = np.where(rng.random(200) < 0.6, probabilities.argmax(1), rng.integers(0, 3, 200)).astype(np.int32)
    labels[:5] = -1
    ids = np.arange(200)
    names = tuple(map(str, ids))
    stored = predictions.Predictions(ids, probabilities, labels, stages.CLASSES, names)
    predictions.write(stage / predictions.FILES["validation"], stored)
    one = Trained.open(str(stage), "test")
    expected = calibration.temperature(probabilities[5:], labels[5:])
    assert expected > 1.2
    assert fitted([one], "none") == (pytest.approx(expected), f"{expected:.3g}, fitted to 195 validation images")
    assert fitted([one], "flips")[0] == 1.0
    export(members=str(stage), format="safetensors", out=str(tmp_path / "out"))
    assert json.loads((tmp_path / "out/config.json").read_text())["efficient_jax"]["temperature"] == pytest.approx(
        expected
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"members": ""}, "--members=RUN"),
        ({"out": ""}, "--out=FOLDER is missing"),
        ({"format": "onxn"}, "--format: unknown name 'onxn'; did you mean 'onnx'"),
        ({"members": "STAGEx"}, "has no stage 'studentx'; did you mean 'student'"),
        ({"tta": "flip"}, "--tta: unknown name 'flip'; did you mean 'flips'"),
        ({"tta": "flips:hard"}, "--tta: a file has the mean over the views"),
        ({"tta": "flips", "format": "safetensors"}, "--tta: safetensors holds weights only"),
        ({"members": "STAGE,STAGE", "format": "safetensors"}, "safetensors holds one network"),
        ({"out": "RUN", "format": "safetensors"}, r"holds something else \(config.json, run.json, student\)"),
    ],
)
def test_what_cannot_be_exported_is_one_line(stage, tmp_path, flags, message):
    wanted = {"members": "STAGE", "format": "safetensors", "out": str(tmp_path / "out")} | flags
    wanted["members"] = wanted["members"].replace("STAGE", str(stage))
    wanted["out"] = wanted["out"].replace("RUN", str(stage.parent))
    with pytest.raises(UserError, match=message):
        export(**wanted)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_stage_that_is_not_finished_wants_a_step(tmp_path):
    stage = stages.saved(tmp_path / "run", "student", SPEC, finished=False)
    with pytest.raises(UserError, match=r"is not finished; train it, or name a checkpoint: .*student@5"):
        export(members=str(stage), format="safetensors", out=str(tmp_path / "out"))
    export(members=f"{stage}@5", format="safetensors", out=str(tmp_path / "out"))


def test_images_of_other_sizes_are_no_single_program(stage, tmp_path):
    other = stages.saved(
        tmp_path / "run", "other", stages.spec_of("mlp", {"width": 4}, (7, 7, 1), framing=SPEC.framing)
    )
    with pytest.raises(UserError, match=r"image_shape of '.*other' is \(7, 7, 1\).*export them one by one"):
        export(members=f"{stage},{other}", format="stablehlo", out=str(tmp_path / "out"))


@pytest.mark.parametrize(("format", "package"), [("onnx", "onnx"), ("stablehlo", "flatbuffers")])
def test_a_missing_package_is_named(stage, tmp_path, monkeypatch, format, package):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(UserError, match=rf"{package} is not installed: pip install -e '.\[export\]'"):
        export(members=str(stage), format=format, out=str(tmp_path))


def test_a_program_that_computes_something_else_is_not_written(stage, tmp_path, monkeypatch):
    wrong = formats.FORMATS["stablehlo"]._replace(
        packages=(), content=lambda _: b"", run=lambda _, images: np.ones((len(images), 3))
    )
    monkeypatch.setitem(formats.FORMATS, "stablehlo", wrong)
    with pytest.raises(UserError, match=r"probabilities of the file differ by .* from ours; nothing is written"):
        export(members=str(stage), format="stablehlo", out=str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_onnx_from_the_command_line(stage, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra export)")
    export(members=str(stage), format="onnx", out=str(tmp_path))
    assert "checked: its probabilities differ by at most" in capsys.readouterr().out
    assert 'session = onnxruntime.InferenceSession("model.onnx")' in (tmp_path / "README.md").read_text()
