"""Grad-CAM against class activation maps, finite differences and planted squares."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.explain import gradcam, heat_maps, trust
from efficient_jax.models import densenet, efficientnet

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)
CLASSES = np.array([1, 0, 2])
CONVOLUTIONAL = {
    "cnn": ({"width": 4}, (4, 6)),
    "resnet": ({"depth": 18}, (1, 2)),
    "wide_resnet": ({"depth": 10, "width": 1}, (8, 12)),
    "densenet": ({"depth": 13}, (1, 1)),
    "efficientnet": ({"variant": "tiny"}, (1, 2)),
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Variants that are traced quickly."""
    monkeypatch.setitem(densenet.VARIANTS, 13, (4, (1, 1, 1, 1)))
    monkeypatch.setitem(efficientnet.VARIANTS, "tiny", efficientnet.Variant(0.1, 0.5, 32, dropout=0.0))


def network(name):
    """(images -> (logits, intermediates), its variables): parameters as drawn at the beginning."""
    module = models.MODELS[name](classes=3, **CONVOLUTIONAL.get(name, ({},))[0])
    apply = models.make_apply(module, (0.5,) * 3, (0.5,) * 3)
    return module, lambda variables, images: apply(variables, images, False, None)[0]


@functools.cache
def cnn():
    module, forward = network("cnn")
    return functools.partial(forward, models.init(module, jax.random.key(0), IMAGES.shape[1:]))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_every_convolutional_network_has_a_map_of_the_size_of_its_last_feature_map(name):
    module, forward = network(name)

    def maps(key):
        variables = models.init(module, key, IMAGES.shape[1:])
        return heat_maps(functools.partial(forward, variables), IMAGES, CLASSES)["Grad-CAM"]

    assert jax.eval_shape(maps, jax.random.key(0)).shape == (3, *CONVOLUTIONAL[name][1])


@pytest.mark.parametrize("name", ["cnn", "wide_resnet"])
def test_it_is_the_class_activation_map_where_a_mean_and_a_linear_head_follow(name):
    """arXiv 1610.02391, section 3: then a_k is the head's weight over the number of pixels."""
    module, forward = network(name)
    variables = models.init(module, jax.random.key(0), IMAGES.shape[1:])

    @jax.jit
    def both(variables):
        one = functools.partial(forward, variables)
        return gradcam.grad_cam(one, IMAGES, CLASSES), one(IMAGES)[1]

    found, seen = both(variables)
    maps, head = seen["stage3"], variables["params"]["head"]["kernel"]
    cam = np.einsum("bhwk,kb->bhw", maps, head[:, CLASSES])
    assert (cam < 0).any()
    assert (cam > 0).any()
    np.testing.assert_allclose(found, np.maximum(cam, 0) / np.prod(cam.shape[1:]), rtol=1e-4, atol=1e-7)


def test_the_rest_of_the_network_has_the_gradient_of_finite_differences():
    step = 1e-3  # a larger one meets kinks

    @jax.jit
    def everything(images):
        maps, rest = gradcam.split(cnn(), images, "stage2")
        direction = jax.random.normal(jax.random.key(1), maps.shape)
        along = [rest(maps + size * direction)[0, 2] for size in (-step, step)]
        return maps, rest(maps), cnn()(images), jax.grad(lambda a: rest(a)[0, 2])(maps), direction, along

    maps, logits, plain, slopes, direction, (before, after) = everything(IMAGES[:1])
    np.testing.assert_allclose(logits, plain[0], atol=1e-5)
    np.testing.assert_allclose(maps, plain[1]["stage2"], atol=1e-5)
    slope = (slopes * direction).sum()
    np.testing.assert_allclose((after - before) / (2 * step), slope, rtol=0.02)
    assert abs(slope) > 0.1


def squares(images):
    """Bright squares speak for class 1: feature maps are brightness and darkness of 4 x 4 pixels."""
    tiles = images.astype(jnp.float32).reshape(len(images), 8, 4, 8, 4, -1).mean((2, 4, 5))
    maps = jnp.stack([jax.nn.relu(tiles - 128), jax.nn.relu(128 - tiles)], axis=-1)
    return maps.mean((1, 2)) @ jnp.array([[-1.0, 1.0], [1.0, -1.0]]), {"stage1": maps, "stage10": maps}


def test_it_points_at_planted_squares():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 24, (20, 2))
    boxes = np.concatenate([corners[:, ::-1], corners[:, ::-1] + 8], axis=1)[:, None].astype(np.float32)
    targets = trust.targets({"boxes": boxes, "box_visible": np.ones((20, 1))}, (32, 32))
    images = np.where(targets[..., None], 255, rng.integers(0, 100, (20, 32, 32, 1))).astype(np.uint8)
    maps = gradcam.grad_cam(squares, images, np.ones(20, int), "stage1")
    assert trust.pointing_game(trust.peaks(maps), targets).all()
    against = gradcam.grad_cam(squares, images, np.zeros(20, int), "stage1")
    assert not trust.pointing_game(trust.peaks(against), targets).any()
    nothing = gradcam.grad_cam(squares, images[:1] * 0, np.ones(1, int), "stage1")
    assert not nothing.any()  # black all over speaks against class 1, and is not stretched to a map that does


@pytest.mark.parametrize(
    ("name", "layer", "said"),
    [
        ("cnn", "stage9", "layer: unknown name 'stage9'; did you mean"),
        ("cnn", "features", "layer: unknown name 'features'; there is: stage1, stage2, stage3"),
        ("mlp", "", "this one has no feature maps"),
    ],
)
def test_what_is_no_feature_map_is_said(name, layer, said):
    module, forward = network(name)
    with pytest.raises(UserError, match=said):
        jax.eval_shape(
            lambda key: heat_maps(
                functools.partial(forward, models.init(module, key, IMAGES.shape[1:])), IMAGES, CLASSES, layer
            ),
            jax.random.key(0),
        )


def test_a_network_in_one_piece_cannot_be_cut():
    """Its gradient would be that of nothing."""
    with pytest.raises(UserError, match="jitted"):
        gradcam.grad_cam(jax.jit(squares), IMAGES[:, :, :32], CLASSES * 0)
