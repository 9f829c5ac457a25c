"""The weights of a file are those of timm by name and layout, and our reader takes them back."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from efficient_jax.errors import UserError
from efficient_jax.export import safetensors_file
from efficient_jax.export.program import program
from efficient_jax.models import MODELS, pretrained
from efficient_jax.models.spec import ModelSpec
from tests.export import stages

GOLDENS = Path(__file__).parents[1] / "models" / "goldens"
TEN = tuple("0123456789")
OF_TIMM = {  # golden: (model, settings)
    "resnet18": ("resnet", {"depth": 18}),
    "resnet50": ("resnet", {"depth": 50}),
    "densenet121": ("densenet", {}),
    "efficientnet_b0": ("efficientnet", {"tensorflow": False}),
    "tf_efficientnet_b0": ("efficientnet", {}),
    "vit_small_patch16_224": ("vit", {}),
}
SMALL = {"resnet": {"depth": 18}, "wide_resnet": {"depth": 10}, "vit": {"variant": "Ti/16"}, "mlp": {"width": 8}}


@pytest.mark.parametrize("golden", OF_TIMM)
def test_names_and_shapes_are_those_of_timm(golden):
    file = np.load(GOLDENS / f"{golden}.npz")
    (name, settings), (_, _, height, width) = OF_TIMM[golden], file["images"]
    spec = ModelSpec(name, settings, TEN, (int(height), int(width), 3), (0.5,) * 3, (0.5,) * 3)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), stages.shapes(spec))
    ours = {name: array.shape for name, array in pretrained.torch_state(zeros).items()}
    theirs = json.loads(str(file["shapes"]))
    assert ours == {k: tuple(shape) for k, shape in theirs.items() if not k.endswith("num_batches_tracked")}


@pytest.mark.parametrize("name", MODELS)
def test_the_reader_takes_back_what_is_written(name, tmp_path):
    spec = stages.spec_of(name, SMALL.get(name, {}), (32, 32, 3))
    one = stages.trained(spec)
    (tmp_path / "model.safetensors").write_bytes(safetensors_file.serialized(program([one], "none", 2.0)))
    state = pretrained.read(tmp_path / "model.safetensors")
    empty = jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan, np.float32), one.variables)
    back, report = pretrained.load(state, empty)
    assert not report.new
    assert not report.left
    jax.tree.map(np.testing.assert_array_equal, back, one.variables)


def test_kernels_have_the_layout_of_torch():
    spec = stages.spec_of("cnn", {}, (8, 8, 1))
    one = stages.trained(spec)
    state = safetensors.numpy.load(safetensors_file.serialized(program([one], "none", 1.0)))
    params = one.variables["params"]
    assert state["stage2.conv.weight"][5, 3, 0, 2] == params["stage2"]["conv"]["kernel"][0, 2, 3, 5]
    np.testing.assert_array_equal(state["head.weight"], params["head"]["kernel"].T)
    np.testing.assert_array_equal(
        state["stage1.norm.running_var"], one.variables["batch_stats"]["stage1"]["norm"]["var"]
    )


def test_several_networks_and_views_are_refused():
    spec = stages.spec_of("mlp", {"width": 2}, (4, 4, 1))
    two = [stages.trained(spec, seed) for seed in (0, 1)]
    with pytest.raises(UserError, match=r"safetensors holds one network; several are a program"):
        safetensors_file.serialized(program(two, "none", 1.0))
    with pytest.raises(UserError, match="--tta: safetensors holds weights only"):
        safetensors_file.serialized(program(two[:1], "flips", 1.0))
