import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from efficient_jax.errors import UserError
from efficient_jax.models.layers import Norm
from efficient_jax.models.wide_resnet import WideResNet


@functools.cache
def shapes(module, train=False):
    """(variables, seen), of two images."""

    def run(key, x):
        variables = module.init(key, x, False)
        (_, seen), _ = module.apply(variables, x, train, mutable=["batch_stats"])
        return variables, seen

    return jax.eval_shape(run, jax.random.key(0), jnp.zeros((2, 32, 32, 3)))


def paths(variables):
    return ["/".join(path) for path in flatten_dict(variables["params"])]


def formula(classes, depth, width):
    """Parameters: the stem, three stages of n blocks of (16, 32, 64) * width channels, the last norm, the head."""
    blocks, before = 9 * 3 * 16, 16
    for features in (16 * width, 32 * width, 64 * width):
        first = 2 * before + 9 * before * features + 2 * features + 9 * features**2 + before * features
        blocks += first + ((depth - 4) // 6 - 1) * (18 * features**2 + 4 * features)
        before = features
    return blocks + 2 * before + before * classes + classes


@pytest.mark.parametrize(
    ("classes", "depth", "width", "count"),
    [(10, 28, 2, 1_467_610), (10, 28, 8, 23_354_842), (100, 28, 8, 23_401_012), (10, 16, 2, formula(10, 16, 2))],
)
def test_parameters_are_as_many_as_published(classes, depth, width, count):
    variables, _ = shapes(WideResNet(classes, depth, width))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count == formula(classes, depth, width)


def test_every_parameter_belongs_to_one_layer():
    module = WideResNet(10)
    names, layers = paths(shapes(module)[0]), module.layers()
    assert len(layers) == 1 + 12 + 1
    assert all(sum(bool(re.fullmatch(layer, name)) for layer in layers) == 1 for name in names)
    assert all(any(re.fullmatch(layer, name) for name in names) for layer in layers)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("stem/kernel", 0),
        ("stage1/0/norm1/scale", 1),
        ("stage1/0/shortcut/kernel", 1),
        ("stage1/3/conv2/kernel", 4),
        ("stage2/0/conv1/kernel", 5),
        ("stage3/3/norm2/bias", 12),
        ("norm/scale", 13),
        ("head/bias", 13),
    ],
)
def test_layers_count_from_the_input(name, layer):
    module = WideResNet(10)
    assert name in paths(shapes(module)[0])
    assert re.fullmatch(module.layers()[layer], name)


def test_intermediates_are_named_from_the_stages_to_the_logits():
    _, seen = shapes(WideResNet(10))
    assert {name: value.shape for name, value in seen.items()} == {
        "stage1": (2, 32, 32, 32),
        "stage2": (2, 16, 16, 64),
        "stage3": (2, 8, 8, 128),
        "features": (2, 128),
        "logits": (2, 10),
    }


@functools.cache
def tiny():
    """Two blocks in each stage and random variables, also of the normalisations."""
    module = WideResNet(5, depth=16, width=2)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name == "kernel":
            return rng.normal(0.0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)
        low, high = {"scale": (0.5, 1.5), "var": (0.5, 1.5), "mean": (-0.2, 0.2), "bias": (-0.2, 0.2)}[name]
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return module, jax.tree.map_with_path(draw, shapes(module)[0])


def fixmatch(variables, x):
    """The logits of two blocks per stage as FixMatch's libml/models.py describes them."""
    params, stats = (flatten_dict(variables[name], sep="/") for name in ("params", "batch_stats"))

    def conv(x, name, stride=1):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, params[name + "/kernel"], (stride,) * 2, "SAME", dimension_numbers=numbers
        )

    def act(x, name):
        x = (x - stats[name + "/mean"]) / jnp.sqrt(stats[name + "/var"] + 1e-3)
        x = x * params[name + "/scale"] + params[name + "/bias"]
        return jnp.maximum(x, 0.1 * x)

    x = conv(x, "stem")
    for block in ("stage1/0", "stage1/1", "stage2/0", "stage2/1", "stage3/0", "stage3/1"):
        stride = 2 if block in ("stage2/0", "stage3/0") else 1
        y = act(x, block + "/norm1")
        shortcut = y if block == "stage1/0" else x
        y = conv(act(conv(y, block + "/conv1", stride), block + "/norm2"), block + "/conv2")
        x = y + (conv(shortcut, block + "/shortcut", stride) if block.endswith("0") else shortcut)
    return act(x, "norm").mean((1, 2)) @ params["head/kernel"] + params["head/bias"]


def test_the_network_is_fixmatchs(key):
    module, variables = tiny()
    x = jax.random.normal(key, (2, 16, 16, 3))
    logits, _ = jax.jit(lambda x: module.apply(variables, x, False))(x)
    np.testing.assert_allclose(logits, jax.jit(fixmatch)(variables, x), rtol=1e-4, atol=1e-4)


def norms(module):
    found = []

    def spy(call, args, kwargs, context):
        if isinstance(context.module, Norm) and context.method_name == "__call__":
            found.append(context.module)
        return call(*args, **kwargs)

    with nn.intercept_methods(spy):
        jax.eval_shape(lambda x: module.init(jax.random.key(0), x, False), jnp.zeros((1, 32, 32, 3)))
    return found


def test_every_norm_averages_over_the_device_axis_and_in_time_as_fixmatch():
    assert [(norm.axis, norm.momentum) for norm in norms(WideResNet(5, norm_axis="device"))] == [("device", 0.999)] * 25
    assert {norm.momentum for norm in norms(WideResNet(5, norm_momentum=0.9))} == {0.9}


@pytest.mark.parametrize(("train", "with_keys"), [(True, True), (True, False), (False, True)])
def test_dropping_needs_training_and_keys(train, with_keys):
    module, x = WideResNet(5, 10, 1, dropout=0.5), jnp.zeros((2, 32, 32, 3))
    variables, _ = shapes(module)
    keys = jax.random.split(jax.random.key(0), 2) if with_keys else None
    program = jax.make_jaxpr(lambda v, x, k: module.apply(v, x, train, k, mutable=["batch_stats"]))(variables, x, keys)
    assert ("random_bits" in str(program)) == (train and with_keys)


def test_bfloat16_computes_in_bfloat16_with_float32_parameters_and_logits():
    variables, seen = shapes(WideResNet(5, dtype="bfloat16"), train=True)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert {seen[f"stage{i}"].dtype for i in (1, 2, 3)} == {jnp.dtype("bfloat16")}
    assert seen["logits"].dtype == jnp.float32


@pytest.mark.parametrize(("depth", "nearest"), [(27, 28), (30, 28), (2, 10), (-8, 10)])
def test_other_depths_are_refused(depth, nearest):
    with pytest.raises(UserError, match=rf"model\.depth: {depth} is not 6 n \+ 4; did you mean {nearest}"):
        shapes(WideResNet(5, depth))
    with pytest.raises(UserError, match=f"{nearest}"):
        WideResNet(5, depth).layers()
