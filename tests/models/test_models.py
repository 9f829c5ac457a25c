import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from efficient_jax import models
from efficient_jax.models import resnet

SHAPE = (12, 10, 3)
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)


def build(norm_axis=None, dropout=0.0):
    module = models.CNN(classes=5, width=4, norm_axis=norm_axis, dropout=dropout)
    variables = models.init(module, jax.random.key(1), SHAPE)
    return models.make_apply(module, MEAN, STD), variables


@functools.cache
def jitted(dropout=0.0):
    apply, variables = build(dropout=dropout)
    return jax.jit(apply, static_argnums=2), variables


@pytest.fixture
def images(key):
    return jax.random.bits(key, (8, *SHAPE), jnp.uint8)


@pytest.mark.parametrize("name", models.MODELS)
def test_variables_are_nested_dicts_of_float32(name):
    shape = (32, 32, 3)
    module = models.MODELS[name](classes=5, norm_axis="device")
    variables = models.shapes(module, shape)
    assert type(variables) is dict
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("name", models.MODELS)
def test_every_parameter_is_in_one_layer(name):
    module = models.MODELS[name](classes=5)
    params = models.shapes(module, (32, 32, 3))["params"]
    paths = ["/".join(path) for path in flatten_dict(params)]
    claims = {path: [i for i, layer in enumerate(module.layers()) if re.fullmatch(layer, path)] for path in paths}
    assert all(len(found) == 1 for found in claims.values())
    assert {i for found in claims.values() for i in found} == set(range(len(module.layers())))
    assert {path for path, found in claims.items() if found == [len(module.layers()) - 1]} >= {
        "head/kernel",
        "head/bias",
    }


@pytest.mark.parametrize("given", [(), ("head",), ("stage1", "stage2", "stage3", "head")])
def test_what_is_missing_gets_the_values_of_new_variables(given, key):
    module = models.CNN(classes=5, width=4)
    expected, variables = models.init(module, key, SHAPE), models.shapes(module, SHAPE)
    for name in given:
        variables["params"][name] = jax.tree.map(lambda x: np.full(x.shape, 7.0), variables["params"][name])
        expected["params"][name] = variables["params"][name]
    found = models.completed(module, key, SHAPE, variables)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, expected)  # of two programs


def test_cnn_has_the_parameters_of_its_formula():
    module = models.CNN(classes=10, width=16)
    params = models.init(module, jax.random.key(0), (28, 28, 1))["params"]
    convolutions = 9 * (1 * 16 + 16 * 32 + 32 * 64)
    norms, head = 2 * (16 + 32 + 64), 64 * 10 + 10
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == convolutions + norms + head


def test_intermediates_are_named_and_end_in_the_logits(images):
    apply, variables = jitted()
    (logits, seen), _ = apply(variables, images, False, None)
    shapes = {name: value.shape[1:] for name, value in seen.items()}
    stages = {"stage1": (6, 5, 4), "stage2": (3, 2, 8), "stage3": (1, 1, 16)}
    assert shapes == stages | {"features": (16,), "logits": (5,)}
    head = variables["params"]["head"]
    np.testing.assert_allclose(logits, seen["features"] @ head["kernel"] + head["bias"], atol=1e-5)


def test_uint8_and_float_images_are_the_same_images(images):
    apply, variables = jitted()
    (a, _), _ = apply(variables, images, False, None)
    (b, _), _ = apply(variables, images.astype(jnp.float32) / 255.0, False, None)
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_images_are_normalised_by_channel():
    class Identity(nn.Module):
        def __call__(self, x, train, keys):
            del train, keys
            return x.reshape(1, -1), {}

    (x, _), _ = models.make_apply(Identity(), MEAN, STD)({"params": {}}, jnp.full((1, 2, 2, 3), 0.5), False, None)
    np.testing.assert_allclose(x[0, :3], [0.0, 0.5, 2.0], rtol=1e-5, atol=1e-7)


def test_evaluation_returns_the_state_it_was_given_and_training_the_moving_average(images):
    apply, variables = jitted()
    _, kept = apply(variables, images, False, None)
    _, renewed = apply(variables, images, True, None)
    assert jax.tree.structure(kept) == jax.tree.structure(renewed)
    for a, b in zip(jax.tree.leaves(kept["batch_stats"]), jax.tree.leaves(variables["batch_stats"]), strict=True):
        np.testing.assert_array_equal(a, b)

    first = {name: {"norm": {"mean": 0.0, "var": 1.0}} for name in ("stage1", "stage2", "stage3")}
    new = renewed["batch_stats"]
    assert jax.tree.structure(new) == jax.tree.structure(first)
    x = (images.astype(jnp.float32) / 255.0 - jnp.array(MEAN)) / jnp.array(STD)
    pooled = models.pooling.max_pool(
        models.convolution.conv_plain(x, variables["params"]["stage1"]["conv"]["kernel"], 1, ((1, 1), (1, 1)))
    )
    np.testing.assert_allclose(new["stage1"]["norm"]["mean"], 0.1 * pooled.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(new["stage1"]["norm"]["var"], 0.9 + 0.1 * pooled.var((0, 1, 2)), rtol=1e-4)


def test_dropout_acts_in_training_only(images, key):
    apply, variables = jitted(dropout=0.5)
    keys = jax.random.split(key, 8)

    def logits(train, keys):
        return apply(variables, images, train, keys)[0][0]

    np.testing.assert_array_equal(logits(False, keys), logits(False, None))
    assert (logits(True, keys) != logits(True, None)).any()


def test_batch_statistics_span_the_devices(images, key):
    keys = jax.random.split(key, 8)
    one, variables = jitted(dropout=0.5)
    (logits, _), state = one(variables, images, True, keys)

    apply, _ = build(norm_axis="device", dropout=0.5)
    several = jax.pmap(
        lambda v, x, k: apply(v, x, True, k),
        axis_name="device",
        in_axes=(None, 0, 0),
        out_axes=((0, 0), None),
    )
    (shared, _), shared_state = several(variables, images.reshape(4, 2, *SHAPE), keys.reshape(4, 2))
    np.testing.assert_allclose(shared.reshape(8, 5), logits, atol=1e-4)
    for a, b in zip(jax.tree.leaves(shared_state), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def frozen_but(variables, *names):
    """A tree that says of every parameter that it is frozen, but for those below `names`."""
    return {name: jax.tree.map(lambda _, f=name not in names: f, tree) for name, tree in variables["params"].items()}


def test_frozen_layers_keep_their_statistics_and_others_renew_them(images):
    module = models.CNN(classes=5, width=4)
    variables = models.init(module, jax.random.key(1), SHAPE)
    apply = jax.jit(models.make_apply(module, MEAN, STD, frozen_but(variables, "stage3", "head")), static_argnums=2)
    _, renewed = apply(variables, images, True, None)
    for name, kept in (("stage1", True), ("stage2", True), ("stage3", False)):
        before, after = (tree["batch_stats"][name]["norm"] for tree in (variables, renewed))
        assert all((np.asarray(before[k]) == np.asarray(after[k])).all() == kept for k in before)


def test_a_frozen_backbone_gives_the_features_of_evaluation(images, key):
    module = models.CNN(classes=5, width=4, dropout=0.5)
    variables = models.init(module, jax.random.key(1), SHAPE)
    apply = jax.jit(models.make_apply(module, MEAN, STD, frozen_but(variables, "head")), static_argnums=2)
    (_, evaluated), _ = apply(variables, images, False, None)
    (logits, trained), _ = apply(variables, images, True, jax.random.split(key, 8))
    np.testing.assert_array_equal(trained["features"], evaluated["features"])
    assert (logits != evaluated["logits"]).any()  # the dropout before the head is not part of the backbone


def test_nothing_is_dropped_inside_a_frozen_block(key, monkeypatch):
    monkeypatch.setitem(resnet.BLOCKS, 6, (1, 1))
    module = models.ResNet(classes=3, depth=6, stem="cifar", stochastic_depth=0.9)
    variables = models.init(module, jax.random.key(1), (8, 8, 3))
    variables["params"] = jax.tree.map(jnp.ones_like, variables["params"])  # no branch is 0, as it is at first
    images = jax.random.uniform(key, (4, 8, 8, 3))
    run = jax.jit(models.make_apply(module, MEAN, STD, frozen_but(variables, "head")), static_argnums=2)
    evaluated, trained = (run(variables, images, train, jax.random.split(key, 4))[0][1] for train in (False, True))
    np.testing.assert_array_equal(trained["features"], evaluated["features"])


def test_grey_images_are_repeated_in_the_channels_of_the_network(images):
    apply, variables = jitted()
    grey = images[..., :1]
    (a, _), _ = apply(variables, grey, False, None)
    (b, _), _ = apply(variables, jnp.repeat(grey, 3, axis=-1), False, None)
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
