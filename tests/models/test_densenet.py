import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from efficient_jax.errors import UserError
from efficient_jax.models import densenet
from efficient_jax.models.densenet import DenseNet, Transition
from efficient_jax.models.layers import Norm


@pytest.fixture
def depth_13(monkeypatch):
    """Four channels of growth, one layer in each block."""
    monkeypatch.setitem(densenet.VARIANTS, 13, (4, (1, 1, 1, 1)))
    return 13


@functools.cache
def shapes(module, size=64, train=False):
    """(variables, seen), of two images."""

    def run(key, x):
        variables = module.init(key, x, False)
        (_, seen), _ = module.apply(variables, x, train, mutable=["batch_stats"])
        return variables, seen

    return jax.eval_shape(run, jax.random.key(0), jnp.zeros((2, size, size, 3)))


def paths(variables):
    return ["/".join(path) for path in flatten_dict(variables["params"])]


@pytest.mark.parametrize(
    ("depth", "count"), [(121, 7_978_856), (161, 28_681_000), (169, 14_149_480), (201, 20_013_928)]
)
def test_parameters_are_as_many_as_published(depth, count):
    module = DenseNet(1000, depth)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


def test_every_parameter_belongs_to_one_layer():
    module = DenseNet(10)
    names, layers = paths(shapes(module)[0]), module.layers()
    assert len(layers) == 1 + (6 + 12 + 24 + 16) + 1
    assert all(sum(bool(re.fullmatch(layer, name)) for layer in layers) == 1 for name in names)
    assert all(any(re.fullmatch(layer, name) for name in names) for layer in layers)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("features/conv0/kernel", 0),
        ("features/norm0/scale", 0),
        ("features/denseblock1/denselayer1/norm1/scale", 1),
        ("features/denseblock1/denselayer6/conv2/kernel", 6),
        ("features/transition1/norm/bias", 6),
        ("features/transition1/conv/kernel", 6),
        ("features/denseblock2/denselayer1/conv1/kernel", 7),
        ("features/denseblock4/denselayer16/norm2/bias", 58),
        ("features/norm5/scale", 59),
        ("head/bias", 59),
    ],
)
def test_layers_count_from_the_input_under_timms_names(name, layer):
    module = DenseNet(10)
    assert name in paths(shapes(module)[0])
    assert re.fullmatch(module.layers()[layer], name)


def test_intermediates_are_named_from_the_stages_to_the_logits():
    _, seen = shapes(DenseNet(10))
    assert {name: value.shape for name, value in seen.items()} == {
        "stage1": (2, 16, 16, 256),
        "stage2": (2, 8, 8, 512),
        "stage3": (2, 4, 4, 1024),
        "stage4": (2, 2, 2, 1024),
        "features": (2, 1024),
        "logits": (2, 10),
    }


def test_every_norm_averages_over_the_device_axis():
    axes = []

    def spy(call, args, kwargs, context):
        if isinstance(context.module, Norm) and context.method_name == "__call__":
            axes.append(context.module.axis)
        return call(*args, **kwargs)

    module = DenseNet(5, norm_axis="device")
    with nn.intercept_methods(spy):
        jax.eval_shape(lambda x: module.init(jax.random.key(0), x, False), jnp.zeros((1, 32, 32, 3)))
    assert axes == ["device"] * (1 + 2 * 58 + 3 + 1)


def test_a_transition_is_a_convolution_and_then_the_mean_of_tiles_that_are_full(key):
    x = jax.random.normal(key, (2, 5, 6, 8))
    module = Transition(None)
    variables = module.init(key, x, False)
    convolved = jnp.maximum(x / np.sqrt(1.0 + 1e-5), 0.0) @ variables["params"]["conv"]["kernel"][0, 0]
    expected = nn.pool(convolved, 0.0, jax.lax.add, (2, 2), (2, 2), "VALID") / 4.0
    np.testing.assert_allclose(module.apply(variables, x, False), expected, atol=1e-5)


@pytest.mark.parametrize(("train", "with_keys"), [(True, True), (True, False), (False, True)])
def test_dropping_needs_training_and_keys(depth_13, train, with_keys):
    module, x = DenseNet(5, depth_13, dropout=0.5), jnp.zeros((2, 32, 32, 3))
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), x, False))
    keys = jax.random.split(jax.random.key(0), 2) if with_keys else None
    program = jax.make_jaxpr(lambda v, x, k: module.apply(v, x, train, k, mutable=["batch_stats"]))(variables, x, keys)
    assert ("random_bits" in str(program)) == (train and with_keys)


def test_bfloat16_computes_in_bfloat16_with_float32_parameters_and_logits(depth_13):
    variables, seen = shapes(DenseNet(5, depth_13, dtype="bfloat16"), train=True)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert {seen[f"stage{i}"].dtype for i in range(1, 5)} == {jnp.dtype("bfloat16")}
    assert seen["logits"].dtype == jnp.float32


def test_unknown_depths_are_refused():
    with pytest.raises(UserError, match=r"model\.depth: there is no 112; did you mean 121"):
        shapes(DenseNet(5, 112))
    with pytest.raises(UserError, match=r"model\.depth: there is no 112; did you mean 121"):
        DenseNet(5, 112).layers()
