"""An ONNX file in 8 bits answers like the one in float32."""

import numpy as np
import pytest

from efficient_jax.commands import export as commands_export
from efficient_jax.commands.export import export
from efficient_jax.errors import UserError
from efficient_jax.experiment.dataset import Data
from efficient_jax.export.formats import FORMATS
from efficient_jax.export.program import program
from efficient_jax.training.trained import Trained
from tests.export import stages

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra export)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra export)")
from onnx import numpy_helper  # noqa: E402

from efficient_jax.export import onnx_int8  # noqa: E402

NETWORKS = [
    ("cnn", {"width": 8}, (16, 16, 1)),
    ("mlp", {"width": 8}, (4, 4, 1)),
    ("wide_resnet", {"depth": 10}, (12, 12, 3)),
    ("vit", {"variant": "24x2x3/8"}, (16, 16, 3)),
]


def content(spec, seed=0) -> bytes:
    return FORMATS["onnx"].content(program([stages.trained(spec, seed)], "none", 1.0))


@pytest.mark.parametrize(("name", "settings", "shape"), NETWORKS)
def test_probabilities_stay_close_and_products_are_of_bytes(name, settings, shape):
    spec = stages.spec_of(name, settings, shape)
    plain, images = content(spec), stages.images(spec, 64)
    small = onnx_int8.quantised(plain, images[:32])
    model = onnx.load_model_from_string(small)
    onnx.checker.check_model(model, full_check=True)
    before, after = onnx_int8.run(plain, images), onnx_int8.run(small, images)
    assert np.ptp(before, 0).max() > 0.05  # the images decide
    # A CPU without VNNI: 0.36 of the range for the smallest network.
    assert 0.0 < np.abs(before - after).max() < 0.5 * np.ptp(before, 0).max()
    weights = [numpy_helper.to_array(one) for one in model.graph.initializer]
    of_bytes = [array for array in weights if array.dtype == np.int8 and array.ndim > 1]
    assert of_bytes
    assert not [array for array in weights if array.dtype == np.float32 and array.ndim > 1 and array.size > 300]
    assert {opset.domain for opset in model.opset_import} == {""}
    assert {p.key: p.value for p in model.metadata_props}["classes"] == "dark\ngrey\nbright"


def test_ranges_are_those_of_the_images():
    """Images of one level have other ranges than noise, and so another file."""
    spec = stages.spec_of("cnn", {"width": 4}, (8, 8, 1))
    noise, flat = stages.images(spec, 16), np.full((16, 8, 8, 1), 128, np.uint8)
    files = [onnx_int8.quantised(content(spec), images) for images in (noise, noise, flat)]
    answers = [onnx_int8.run(file, noise) for file in files]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[0] - answers[2]).max() > 1e-3


def test_changed_answers_are_refused(monkeypatch):
    spec = stages.spec_of("cnn", {"width": 4}, (8, 8, 1))
    other = content(spec, 1)
    monkeypatch.setattr(onnx_int8, "quantised", lambda *_: other)
    images = stages.images(spec, 64)
    with pytest.raises(UserError, match=r"^--int8: [\d.]+% of the answers on 64 images are those in float32; nothing"):
        onnx_int8.checked(content(spec), spec, images, images)


def test_the_command_calibrates_with_training_images(teacher, tmp_path, capsys, monkeypatch):
    """Never with test images; those of the check are others too."""
    read, checked = [], onnx_int8.checked
    monkeypatch.setattr(onnx_int8, "checked", lambda *given: read.extend(given[2:]) or checked(*given))
    export(members=str(teacher), format="onnx", int8=True, out=str(tmp_path))
    data = Data.reopen(teacher.parent, "test", print)
    parts = {part: {image.tobytes() for image in data.source.images[ids]} for part, ids in data.split.items()}
    calibration, others = ({image.tobytes() for image in images} for images in read)
    assert calibration | others <= parts["labelled"] | parts["unlabelled"]
    assert calibration
    assert others
    assert not calibration & others
    assert "% of the answers on" in capsys.readouterr().out
    assert "int8: " in (tmp_path / "README.md").read_text()
    assert FORMATS["onnx"].run((tmp_path / "model.onnx").read_bytes(), data.source.images[:4]).shape == (4, 3)


def test_what_int8_cannot_do_is_one_line(tmp_path):
    spec = stages.spec_of("mlp", {"width": 4}, (6, 6, 1))
    stage = stages.saved(tmp_path / "run", "student", spec)
    with pytest.raises(UserError, match=r"^--int8: a file in stablehlo has 32 bits; take --format=onnx$"):
        export(members=str(stage), format="stablehlo", int8=True, out=str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"^--int8: 'packaged' is no stage of a run, whose training images"):
        commands_export._images(Trained("packaged", spec, stages.variables(spec)))
