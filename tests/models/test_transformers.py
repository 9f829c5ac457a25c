"""Features and logits of Transformers' models, from files under its names, on tiny variants of each.

Goldens are of tests/benchmarks/peers/make_transformers_goldens.py.
"""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from efficient_jax.models import MODELS, convnext, pretrained, vit
from tests.models import seeded

GOLDENS = Path(__file__).parent / "goldens"
NAMES = ("vit", "deit", "dinov2", "dinov2_registers", "dinov3", "clip", "siglip", "convnext", "convnextv2")
ANSWERS = dict.fromkeys(("vit", "deit", "convnext", "convnextv2"), "logits")  # of the others: features


@pytest.fixture(autouse=True, scope="module")
def mint():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vit.SIZES, "mint", (24, 1, 3))
        patch.setitem(convnext.SIZES, "mint", ((1, 1, 1, 1), 8))
        yield


@functools.cache
def goldens():
    with np.load(GOLDENS / "transformers.npz") as file:
        arrays = dict(file)
    return {key: json.loads(str(arrays.pop(key))) for key in ("shapes", "sides", "activations")}, arrays


@pytest.fixture
def saved(tmp_path):
    """A function (name, key of the activation) -> folder as Transformers saves it."""

    def save(name, inner=()):
        tables, _ = goldens()
        state = seeded.weights(tables["shapes"][name])
        safetensors.numpy.save_file(state, tmp_path / "model.safetensors")
        config = {
            "hidden_act": tables["activations"][name],
            "layer_norm_eps": 1e-5 if name in ("clip", "dinov3") else 1e-6,
        }
        (tmp_path / "config.json").write_text(json.dumps(dict.fromkeys(inner, config) or config))
        return tmp_path

    return save


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_transformers(saved, name):
    folder = saved(name, ("vision_config",) if name == "clip" else ())
    side = goldens()[0]["sides"][name]
    images = seeded.images(0, 2, side, side)
    model, settings = pretrained.model_of(folder)
    module = MODELS[model](10, **settings)
    fresh = jax.eval_shape(lambda: module.init(jax.random.key(0), images[:1], train=False))
    variables, report = pretrained.load(pretrained.read(folder), fresh, image=(side, side))
    head = {"kernel": jnp.zeros(fresh["params"]["head"]["kernel"].shape), "bias": jnp.zeros(10)}
    variables = variables if name in ANSWERS else variables | {"params": variables["params"] | {"head": head}}
    _, seen = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, images)
    np.testing.assert_allclose(seen[ANSWERS.get(name, "features")], goldens()[1][name], atol=1e-5)
    assert bool(report.new) == (name not in ANSWERS)
    assert not report.left
