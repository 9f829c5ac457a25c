"""Features and logits of timm's foundation backbones for the same weights and images, on tiny variants of each.

Goldens are of tests/benchmarks/peers/make_goldens.py.
"""

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from efficient_jax.models import MODELS, convnext, pretrained, vit
from tests.models import seeded

GOLDENS = Path(__file__).parent / "goldens"
SETTINGS = {  # what a file tells, as settings that differ from the defaults
    "dinov2": {"variant": "mini/14", "layer_scale": 1e-5},
    "dinov2_registers": {"variant": "mini/14", "layer_scale": 1e-5, "registers": 4, "prefix_positions": False},
    "dinov3": {
        "variant": "mini/16",
        "layer_scale": 1e-5,
        "registers": 4,
        "prefix_positions": False,
        "positions": "rope",
        "qkv_bias": "none",
        "norm_eps": 1e-5,
    },
    "clip": {"variant": "mini/16", "pre_norm": True, "norm_eps": 1e-5, "gelu": "quick"},
    "siglip": {"variant": "mini/16", "pool": "map", "class_token": False},
    "siglip_tanh": {"variant": "mini/32", "pool": "map", "class_token": False, "gelu": "tanh"},
    "deit_distilled": {"variant": "mini/16", "distilled": True},
    "deit3": {"variant": "mini/16", "layer_scale": 1e-5, "prefix_positions": False},
    "fc_norm": {"variant": "mini/16", "pool": "mean", "fc_norm": True},
    "no_qkv_bias": {
        "variant": "mini/16",
        "pool": "mean",
        "class_token": False,
        "qkv_bias": "none",
        "layer_scale": 1e-5,
    },
    "convnext": {"variant": "mini"},
    "convnextv2": {"variant": "mini", "version": 2},
}
SETTINGS["dinov3_biases"] = SETTINGS["dinov3"] | {"qkv_bias": "qv"}
SETTINGS["dinov3_plus"] = SETTINGS["dinov3_biases"] | {"swiglu": True}
SETTINGS["dinov2_giant"] = SETTINGS["dinov2"] | {"swiglu": True, "mlp_width": 64}
SETTINGS["clip_wide"] = {"variant": "mini/14", "pre_norm": True, "norm_eps": 1e-5, "mlp_width": 104}
SETTINGS["siglip_wide"] = SETTINGS["siglip"] | {"variant": "mini/14", "mlp_width": 89}
UNTOLD = {"clip": ("gelu",), "siglip_tanh": ("gelu",)}  # settings that names and shapes do not show


@pytest.fixture(autouse=True, scope="module")
def mini():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vit.SIZES, "mini", (24, 2, 3))
        patch.setitem(convnext.SIZES, "mini", ((1, 1, 2, 1), 8))
        yield


@functools.cache
def goldens():
    with np.load(GOLDENS / "foundation.npz") as file:
        arrays = dict(file)
    return json.loads(str(arrays.pop("shapes"))), json.loads(str(arrays.pop("sides"))), arrays


def model_of(name):
    return "convnext" if name.startswith("convnext") else "vit"


def empty(module, images):
    """Variables of the right shapes, full of what no file may leave in place."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), images[:1], train=False))
    return jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan, leaf.dtype), shapes)


@functools.cache
def loaded(name):
    shapes, sides, _ = goldens()
    images = seeded.images(0, 2, *sides[name])
    module = MODELS[model_of(name)](10, **SETTINGS[name])
    state = seeded.weights(shapes[name])
    variables, report = pretrained.load(state, empty(module, images), image=images.shape[1:3])
    return module, state, variables, report, images


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_features_and_logits_are_timms(name):
    module, _, variables, report, images = loaded(name)
    logits, seen = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, images)
    golden = goldens()[2]
    assert report.new == report.left == ()
    features = seen["features"].reshape(2, -1, 24).mean(1) if name == "deit_distilled" else seen["features"]
    np.testing.assert_allclose(features, golden[f"{name}_features"], atol=1e-5)
    np.testing.assert_allclose(logits, golden[f"{name}_logits"], atol=1e-5)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_what_is_loaded_is_given_back(name):
    _, state, variables, _, _ = loaded(name)
    again = pretrained.torch_state(variables)
    assert again.keys() == state.keys()
    if name == "deit_distilled":  # the mean of two biases is what counts
        mean = (state["head.bias"] + state["head_dist.bias"]) / 2
        state = state | {"head.bias": mean, "head_dist.bias": mean}
    for key, array in state.items():
        np.testing.assert_array_equal(again[key], array, err_msg=key)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_file_tells_its_architecture(name, tmp_path):
    module, state = loaded(name)[:2]
    if "pos_embed" in state:  # published ones are of square images
        prefix = module.prefix_tokens if module.prefix_positions else 0
        state = state | {"pos_embed": np.zeros((1, prefix + 9, 24), np.float32)}
    safetensors.numpy.save_file(state, tmp_path / "a.safetensors")
    model, settings = pretrained.model_of(tmp_path / "a.safetensors")
    untold = UNTOLD.get(name, ())
    expected = {key: value for key, value in SETTINGS[name].items() if key not in untold}
    assert (model, settings) == (model_of(name), expected)
