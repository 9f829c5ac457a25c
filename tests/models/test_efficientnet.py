import functools
import math
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from efficient_jax.errors import UserError
from efficient_jax.models import efficientnet
from efficient_jax.models.efficientnet import EfficientNet, resolution, round_features, scaled_stages
from efficient_jax.models.layers import Dropout, Norm, StochasticDepth


@pytest.fixture
def tiny(monkeypatch):
    """A variant with all kinds of blocks that compiles fast."""
    monkeypatch.setitem(efficientnet.VARIANTS, "tiny", efficientnet.Variant(0.1, 0.5, 32, dropout=0.35))


@functools.cache
def shapes(variant, classes=1000):
    module = EfficientNet(classes, variant)
    images = jnp.zeros((1, 32, 32, 3))
    return jax.eval_shape(lambda key: module.init(key, images, train=False), jax.random.key(0))


def numbers(variables):
    """The same values everywhere: each array is drawn by its own seed, so that other libraries can draw it too."""

    def draw(path, leaf):
        rng = np.random.RandomState(zlib.crc32("/".join(path).encode()) % 2**31)
        if path[-1] == "kernel":
            return rng.normal(0.0, math.sqrt(2 / math.prod(leaf.shape[:-1])), leaf.shape).astype(np.float32)
        low, high = {"bias": (-0.3, 0.3), "mean": (-0.3, 0.3), "scale": (0.7, 1.3), "var": (0.5, 1.5)}[path[-1]]
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return unflatten_dict({path: draw(path, leaf) for path, leaf in flatten_dict(variables).items()})


def random_images(shape=(2, 32, 32, 3)):
    return np.random.RandomState(0).normal(size=shape).astype(np.float32)


def fields(kind, names, module):
    """Path -> the fields called `names` of each layer of class `kind`, in the order of their calls."""
    found = {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, kind):
            found["/".join(context.module.path)] = tuple(getattr(context.module, name) for name in names)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), random_images())
    return found


@pytest.mark.parametrize(
    ("variant", "count"),
    [
        ("b0", 5_288_548),
        ("b1", 7_794_184),
        ("b3", 12_233_232),
        ("lite0", 4_652_008),
        ("lite1", 5_416_680),
        ("lite2", 6_092_072),
        ("lite4", 13_006_568),
    ],
)
def test_parameters_are_as_many_as_published(variant, count):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes(variant)["params"])) == count


@pytest.mark.parametrize(
    ("variant", "blocks", "features"),
    [
        ("b0", (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
        ("b1", (2, 3, 3, 4, 4, 5, 2), (16, 24, 40, 80, 112, 192, 320)),
        ("b2", (2, 3, 3, 4, 4, 5, 2), (16, 24, 48, 88, 120, 208, 352)),
        ("b3", (2, 3, 3, 5, 5, 6, 2), (24, 32, 48, 96, 136, 232, 384)),
        ("b4", (2, 4, 4, 6, 6, 8, 2), (24, 32, 56, 112, 160, 272, 448)),
        ("b5", (3, 5, 5, 7, 7, 9, 3), (24, 40, 64, 128, 176, 304, 512)),
        ("b6", (3, 6, 6, 8, 8, 11, 3), (32, 40, 72, 144, 200, 344, 576)),
        ("b7", (4, 7, 7, 10, 10, 13, 4), (32, 48, 80, 160, 224, 384, 640)),
        ("l0", (4, 8, 8, 12, 12, 15, 4), (48, 64, 112, 224, 312, 536, 896)),
        ("l1", (4, 8, 8, 12, 12, 15, 4), (64, 96, 160, 312, 440, 752, 1248)),
        ("l2", (6, 11, 11, 16, 16, 22, 6), (72, 104, 176, 344, 480, 824, 1376)),
        ("lite0", (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
        ("lite1", (1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
        ("lite2", (1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
        ("lite3", (1, 3, 3, 5, 5, 6, 1), (24, 32, 48, 96, 136, 232, 384)),
        ("lite4", (1, 4, 4, 6, 6, 8, 1), (24, 32, 56, 112, 160, 272, 448)),
    ],
)
def test_stages_are_those_of_timm(variant, blocks, features):
    stages = scaled_stages(efficientnet.VARIANTS[variant])
    assert tuple(stage.blocks for stage in stages) == blocks
    assert tuple(stage.features for stage in stages) == features


@pytest.mark.parametrize(
    ("features", "width", "rounded"),
    [(32, 1.0, 32), (32, 1.1, 32), (16, 1.4, 24), (1280, 1.1, 1408), (1280, 4.3, 5504), (16, 0.1, 8), (112, 0.1, 16)],
)
def test_features_are_multiples_of_8_at_most_a_tenth_below(features, width, rounded):
    assert round_features(features, width) == rounded


def test_logits_are_those_of_timm():
    """timm 1.0.31's tf_efficientnet_lite0 with the weights of `numbers`; the variants of B0 are in test_parity.py."""
    module = EfficientNet(3, "lite0", tensorflow=True)
    logits, _ = jax.jit(functools.partial(module.apply, train=False))(numbers(shapes("lite0", 3)), random_images())
    expected = [[1.017417, 0.163555, 0.668237], [0.634985, -0.845276, 0.331180]]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("variant", ["b0", "lite1"])
def test_every_parameter_belongs_to_one_layer(variant):
    patterns = EfficientNet(1000, variant).layers()
    paths = ["/".join(path) for path in flatten_dict(shapes(variant)["params"])]
    found = [[i for i, pattern in enumerate(patterns) if re.fullmatch(pattern, path)] for path in paths]
    assert all(len(layers) == 1 for layers in found)
    assert {layer for layers in found for layer in layers} == set(range(len(patterns)))


def test_layers_run_from_the_stem_to_the_head():
    patterns = EfficientNet(1000, "b0").layers()
    paths = {
        0: ["conv_stem/kernel", "bn1/bias"],
        1: ["blocks/0/0/bn1/bias"],
        3: ["blocks/1/1/conv_pw/kernel"],
        16: ["blocks/6/0/se/conv_reduce/bias", "conv_head/kernel", "bn2/scale"],
        17: ["head/kernel"],
    }
    assert len(patterns) == 18
    assert all(re.fullmatch(patterns[i], path) for i, group in paths.items() for path in group)


@pytest.mark.usefixtures("tiny")
def test_intermediates_halve_the_image_and_end_in_the_logits():
    module = EfficientNet(5, "tiny")
    variables = numbers(shapes("tiny", 5))
    logits, seen = jax.jit(functools.partial(module.apply, train=False))(variables, random_images((2, 40, 32, 3)))
    stages = {"stage1": (10, 8, 8), "stage2": (5, 4, 8), "stage3": (3, 2, 16), "stage4": (2, 1, 32)}
    stages["stage5"] = (2, 1, 128)
    assert {name: value.shape[1:] for name, value in seen.items()} == stages | {"features": (128,), "logits": (5,)}
    head = variables["params"]["head"]
    np.testing.assert_allclose(logits, seen["features"] @ head["kernel"] + head["bias"], atol=1e-5)


def test_stochastic_depth_grows_with_the_block():
    rates = fields(StochasticDepth, ["rate"], EfficientNet(3, "b0", stochastic_depth=0.16))
    blocks = {"1/1": 2, "2/1": 4, "3/1": 6, "3/2": 7, "4/1": 9, "4/2": 10, "5/1": 12, "5/2": 13, "5/3": 14}
    assert list(rates) == [f"blocks/{block}/drop_path" for block in blocks]
    np.testing.assert_allclose(np.ravel(list(rates.values())), [0.01 * i for i in blocks.values()])


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("setting", "rate"), [({}, 0.35), ({"dropout": 0.0}, 0.0), ({"dropout": 0.6}, 0.6)])
def test_dropout_is_the_variants_unless_given(setting, rate):
    assert fields(Dropout, ["rate"], EfficientNet(3, "tiny", **setting)) == {"dropout": (rate,)}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("dropout", "stochastic_depth"), [(0.5, 0.0), (0.0, 0.5)])
def test_units_and_blocks_are_dropped_in_training_only(key, dropout, stochastic_depth):
    module = EfficientNet(3, "tiny", dropout=dropout, stochastic_depth=stochastic_depth)
    variables, images, keys = numbers(shapes("tiny", 3)), random_images((8, 32, 32, 3)), jax.random.split(key, 8)

    def logits(keys, train):
        return module.apply(variables, images, train=train, keys=keys, mutable=["batch_stats"])[0][0]

    assert "random_bits" not in str(jax.make_jaxpr(functools.partial(logits, train=False))(keys))
    trained = jax.jit(functools.partial(logits, train=True))
    assert np.abs(trained(keys) - trained(None)).max() > 1e-3


@pytest.mark.usefixtures("tiny")
def test_bfloat16_computes_with_float32_parameters():
    module = EfficientNet(3, "tiny", dtype="bfloat16")
    (_, seen), variables = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x, train=False), random_images()
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert {name: str(value.dtype) for name, value in seen.items()} == {
        **dict.fromkeys([f"stage{i}" for i in range(1, 6)], "bfloat16"),
        **dict.fromkeys(["features", "logits"], "float32"),
    }


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("tensorflow", "settings"), [(True, (1e-3, 0.99)), (False, (1e-5, 0.99))])
def test_norms_are_set_as_in_the_framework(tensorflow, settings):
    module = EfficientNet(3, "tiny", tensorflow=tensorflow, norm_axis="device")
    norms = fields(Norm, ["axis", "eps", "momentum"], module)
    assert len(norms) == 2 + 2 * 1 + 3 * 9
    assert set(norms.values()) == {("device", *settings)}


def test_resolutions_are_the_published_ones():
    assert [resolution(f"b{i}") for i in range(8)] == [224, 240, 260, 300, 380, 456, 528, 600]
    assert [resolution(f"l{i}") for i in range(3)] == [600, 600, 800]
    assert [resolution(f"lite{i}") for i in range(5)] == [224, 240, 260, 280, 300]


def test_an_unknown_variant_is_refused_with_the_nearest(key):
    with pytest.raises(UserError, match=r"model\.variant: unknown name 'light0'; did you mean 'lite0'\?"):
        EfficientNet(3, "light0").init(key, random_images(), train=False)
    with pytest.raises(UserError, match="'B0'"):
        resolution("B0")
