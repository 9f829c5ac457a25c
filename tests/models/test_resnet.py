import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from efficient_jax.errors import UserError
from efficient_jax.models import resnet
from efficient_jax.models.layers import Norm, StochasticDepth
from efficient_jax.models.pooling import max_pool_overlapping
from efficient_jax.models.resnet import Block, ResNet


@functools.cache
def shapes(module, size=64, train=False):
    """(variables, seen, outputs of all layers), of two images."""

    def run(key, x):
        variables = module.init(key, x, False)
        (_, seen), inner = module.apply(
            variables, x, train, mutable=["intermediates", "batch_stats"], capture_intermediates=True
        )
        return variables, seen, inner["intermediates"]

    return jax.eval_shape(run, jax.random.key(0), jnp.zeros((2, size, size, 3)))


def paths(variables):
    return ["/".join(path) for path in flatten_dict(variables["params"])]


@pytest.mark.parametrize(
    ("depth", "count"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160), (152, 60_192_808)]
)
def test_parameters_are_as_many_as_published(depth, count):
    module = ResNet(1000, depth)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


@pytest.mark.parametrize(("depth", "blocks"), [(18, 8), (50, 16)])
def test_every_parameter_belongs_to_one_layer(depth, blocks):
    module = ResNet(10, depth)
    names, layers = paths(shapes(module)[0]), module.layers()
    assert len(layers) == 1 + blocks + 1
    assert all(sum(bool(re.fullmatch(layer, name)) for layer in layers) == 1 for name in names)
    assert all(any(re.fullmatch(layer, name) for name in names) for layer in layers)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("conv1/kernel", 0),
        ("bn1/bias", 0),
        ("layer1/0/conv1/kernel", 1),
        ("layer1/0/downsample/0/kernel", 1),
        ("layer1/0/downsample/1/scale", 1),
        ("layer1/2/bn3/scale", 3),
        ("layer2/0/conv3/kernel", 4),
        ("layer4/2/conv2/kernel", 16),
        ("head/kernel", 17),
    ],
)
def test_layers_count_from_the_input_under_timms_names(name, layer):
    module = ResNet(10, 50)
    assert name in paths(shapes(module)[0])
    assert re.fullmatch(module.layers()[layer], name)


@pytest.mark.parametrize(
    ("depth", "stem", "sizes", "channels"),
    [
        (18, "imagenet", (16, 8, 4, 2), (64, 128, 256, 512)),
        (50, "imagenet", (16, 8, 4, 2), (256, 512, 1024, 2048)),
        (18, "cifar", (64, 32, 16, 8), (64, 128, 256, 512)),
    ],
)
def test_intermediates_are_named_from_the_stages_to_the_logits(depth, stem, sizes, channels):
    _, seen, _ = shapes(ResNet(5, depth, stem))
    expected = {f"stage{i}": (2, n, n, c) for i, n, c in zip(range(1, 5), sizes, channels, strict=True)}
    assert {k: v.shape for k, v in seen.items()} == expected | {"features": (2, channels[-1]), "logits": (2, 5)}


def test_the_stem_for_small_images_is_a_3x3_convolution():
    variables, _, inner = shapes(ResNet(5, 18, "cifar"), size=32)
    assert variables["params"]["conv1"]["kernel"].shape == (3, 3, 3, 64)
    assert inner["conv1"]["__call__"][0].shape == (2, 32, 32, 64)


def test_the_3x3_convolution_of_a_bottleneck_has_the_stride():
    _, _, inner = shapes(ResNet(5, 50))
    block = inner["layer2"]["0"]
    assert [block[f"conv{i}"]["__call__"][0].shape[1] for i in (1, 2, 3)] == [16, 8, 8]


def instances(kind, module):
    """The layers of class `kind`, in order."""
    found = []

    def spy(call, args, kwargs, context):
        if isinstance(context.module, kind) and context.method_name == "__call__":
            found.append(context.module)
        return call(*args, **kwargs)

    with nn.intercept_methods(spy):
        jax.eval_shape(lambda x: module.init(jax.random.key(0), x, False), jnp.zeros((1, 32, 32, 3)))
    return found


def test_stochastic_depth_grows_linearly_to_its_rate():
    rates = [layer.rate for layer in instances(StochasticDepth, ResNet(5, 18, stochastic_depth=0.7))]
    np.testing.assert_allclose(rates, np.linspace(0.0, 0.7, 8), atol=1e-6)


def test_every_norm_averages_over_the_device_axis():
    norms = instances(Norm, ResNet(5, 50, norm_axis="device"))
    assert len(norms) == 1 + 3 * 16 + 4
    assert {norm.axis for norm in norms} == {"device"}


@pytest.mark.parametrize(("bottleneck", "features"), [(False, 8), (True, 2)])
def test_a_new_block_is_its_shortcut(key, bottleneck, features):
    block, x = Block(features, 1, bottleneck, 0.0, None), jax.random.normal(key, (2, 4, 4, 8))
    y, variables = jax.jit(lambda: block.init_with_output(key, x, False, None))()
    np.testing.assert_array_equal(y, jnp.maximum(x, 0.0))
    scales = [float(norm["scale"][0]) for name, norm in sorted(variables["params"].items()) if name.startswith("bn")]
    assert scales == ([1.0, 1.0, 0.0] if bottleneck else [1.0, 0.0])


def test_stochastic_depth_leaves_the_shortcut_or_doubles_the_branch(key):
    x, keys = jax.random.normal(key, (16, 4, 4, 8)), jax.random.split(key, 16)
    variables = jax.jit(lambda: Block(8, 1, False, 0.5, None).init(key, x, False, None))()
    variables["params"]["bn2"]["scale"] += 1.0
    variables["params"]["bn2"]["bias"] += 20.0  # the last ReLU then changes nothing where the branch is
    branch = jax.jit(lambda: Block(8, 1, False, 0.0, None).apply(variables, x, False, None))() - x
    y = jax.jit(lambda: Block(8, 1, False, 0.5, None).apply(variables, x, False, keys))()
    dropped = (y == jnp.maximum(x, 0.0)).all((1, 2, 3))
    assert 0 < int(dropped.sum()) < 16
    np.testing.assert_allclose(y[~dropped], (x + 2.0 * branch)[~dropped], atol=1e-4)


@pytest.mark.parametrize("setting", ["dropout", "stochastic_depth"])
@pytest.mark.parametrize(("train", "with_keys"), [(True, True), (True, False), (False, True)])
def test_dropping_needs_training_and_keys(monkeypatch, setting, train, with_keys):
    monkeypatch.setitem(resnet.BLOCKS, 6, (1, 1))
    module, x = ResNet(5, 6, "cifar", **{setting: 0.5}), jnp.zeros((2, 8, 8, 3))
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), x, False))
    keys = jax.random.split(jax.random.key(0), 2) if with_keys else None
    program = jax.make_jaxpr(lambda v, x, k: module.apply(v, x, train, k, mutable=["batch_stats"]))(variables, x, keys)
    assert ("random_bits" in str(program)) == (train and with_keys)


def test_bfloat16_computes_in_bfloat16_with_float32_parameters_and_logits():
    variables, seen, _ = shapes(ResNet(5, 50, dtype="bfloat16"), train=True)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert {seen[f"stage{i}"].dtype for i in range(1, 5)} == {jnp.dtype("bfloat16")}
    assert seen["logits"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 51}, r"model\.depth: there is no 51; did you mean 50"),
        ({"stem": "cifra"}, r"model\.stem: unknown name 'cifra'; did you mean 'cifar'"),
    ],
)
def test_unknown_depths_and_stems_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        shapes(ResNet(5, **settings))


def test_an_unknown_depth_has_no_layers():
    with pytest.raises(UserError, match="no 51"):
        ResNet(5, 51).layers()


@pytest.mark.parametrize(("h", "w"), [(6, 8), (7, 5), (1, 2)])
def test_overlapping_max_pool_is_torchs_by_definition(key, h, w):
    x = np.array(jax.random.normal(key, (2, h, w, 3)) - 5.0)  # below 0: padding must not win
    expected = [
        [x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2].max((1, 2)) for j in range((w + 1) // 2)]
        for i in range((h + 1) // 2)
    ]
    np.testing.assert_array_equal(jax.jit(max_pool_overlapping)(x), np.transpose(expected, (2, 0, 1, 3)))


def test_overlapping_max_pool_has_the_gradient_of_reduce_window(key):
    x = jax.random.normal(key, (2, 7, 6, 3))
    gradients = [
        jax.jit(jax.grad(lambda x, pool=pool: jnp.sin(pool(x)).sum()))(x)
        for pool in (max_pool_overlapping, lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))))
    ]
    np.testing.assert_allclose(*gradients, atol=1e-6)
