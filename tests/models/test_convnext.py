import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from efficient_jax.errors import UserError
from efficient_jax.models import convnext
from efficient_jax.models.convnext import ConvNeXt

CLASSES = 3


@pytest.fixture(autouse=True, scope="module")
def minc():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(convnext.SIZES, "minc", ((1, 2, 1, 1), 8))
        yield


def shapes(side=32, **settings):
    module = ConvNeXt(CLASSES, **({"variant": "minc"} | settings))
    images = jnp.zeros((1, side, side, 3))
    return module, jax.eval_shape(lambda: module.init(jax.random.key(0), images, train=False))["params"]


@pytest.mark.parametrize("version", [1, 2])
def test_every_parameter_belongs_to_one_layer(version):
    module, params = shapes(version=version)
    layers = module.layers()
    paths = ["/".join(path) for path in flatten_dict(params)]
    found = {path: [i for i, layer in enumerate(layers) if re.fullmatch(layer, path)] for path in paths}
    assert {path: layer for path, layer in found.items() if len(layer) != 1} == {}
    assert len(layers) == 1 + 5 + 1
    assert (
        found["stages/1/downsample/1/kernel"]
        == found["stages/1/blocks/0/gamma" if version == 1 else "stages/1/blocks/0/norm/scale"]
        == [2]
    )
    assert found["stages/3/blocks/0/norm/bias"] == found["norm/scale"] == [5]


def test_the_response_norm_is_the_papers_and_has_a_gradient_at_zero():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    x[:, :, :, 2] = 0.0
    params = {"scale": np.arange(5, dtype=np.float32), "bias": np.ones(5, np.float32)}
    norms = np.sqrt((x**2).sum((1, 2), keepdims=True))
    expected = params["scale"] * x * norms / (norms.mean(-1, keepdims=True) + 1e-6) + params["bias"] + x

    @jax.jit
    def run(x):
        return jax.value_and_grad(lambda x: convnext.ResponseNorm().apply({"params": params}, x).sum())(
            x
        ), convnext.ResponseNorm().apply({"params": params}, x)

    (_, gradient), found = run(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.isfinite(gradient).all()


def test_stochastic_depth_drops_the_last_block_in_training_only(key):
    module, params = shapes(stochastic_depth=0.999)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0.0, 0.3, leaf.shape).astype(np.float32), params)
    images = jax.random.normal(key, (2, 32, 32, 3))
    run = jax.jit(lambda keys: module.apply({"params": params}, images, train=keys is not None, keys=keys)[1])
    kept, dropped = run(None), run(jax.random.split(key, 2))
    np.testing.assert_allclose(kept["stage1"], dropped["stage1"], atol=1e-5)
    assert abs(kept["stage4"] - dropped["stage4"]).max() > 1e-3
    assert {name: value.shape[1:] for name, value in kept.items()} == {
        "stage1": (8, 8, 8),
        "stage2": (4, 4, 16),
        "stage3": (2, 2, 32),
        "stage4": (1, 1, 64),
        "features": (64,),
        "logits": (3,),
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "tinny"}, "did you mean 'tiny'"),
        ({"version": 3}, "versions 1 and 2, not 3"),
        ({"side": 31}, "an image of 31x31 pixels has less than 32x32"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        shapes(**settings)
