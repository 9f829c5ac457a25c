"""The weights of a file are those of timm by name and layout, and our reader takes them back."""

import dataclasses
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
NETWORKS = {  # name in MODELS: (settings, golden with the names of timm)
    "cnn": ({}, ""),
    "mlp": ({"width": 8}, ""),
    "wide_resnet": ({"depth": 10}, ""),
    "resnet": ({"depth": 50}, "resnet50"),
    "densenet": ({}, "densenet121"),
    "efficientnet": ({}, "tf_efficientnet_b0"),
    "convnext": ({"variant": "atto"}, ""),
    "vit": ({}, "vit_small_patch16_224"),
}


@pytest.mark.parametrize("name", MODELS)
def test_names_are_those_of_timm_and_the_reader_takes_them_back(name):
    settings, golden = NETWORKS[name]
    file = np.load(GOLDENS / f"{golden}.npz") if golden else None
    _, _, height, width = file["images"] if file else (0, 1, 32, 32)
    classes = tuple("0123456789")
    spec = ModelSpec(name, settings, classes, (int(height), int(width), 3), (0.5,) * 3, (0.5,) * 3)
    variables = stages.variables(spec)
    state = pretrained.torch_state(variables)
    if file:
        theirs = json.loads(str(file["shapes"]))
        expected = {k: tuple(shape) for k, shape in theirs.items() if not k.endswith("num_batches_tracked")}
        assert {k: array.shape for k, array in state.items()} == expected
    back, report = pretrained.load(state, jax.tree.map(np.zeros_like, variables))
    assert not report.new
    assert not report.left
    jax.tree.map(np.testing.assert_array_equal, back, variables)


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


def test_another_head_is_refused():
    spec = dataclasses.replace(stages.spec_of("mlp", {"width": 2}, (4, 4, 1)), head={"name": "knn", "pool": "network"})
    with pytest.raises(UserError, match="this one is 'knn' on 'network': take stablehlo or onnx"):
        safetensors_file.serialized(program([stages.trained(spec)], "none", 1.0))
