import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from efficient_jax import losses, models
from efficient_jax.detection.targets import locations
from efficient_jax.errors import UserError
from efficient_jax.models import cost, pretrained, pyramid
from efficient_jax.models.dense import PRIOR, dense_boxes, dense_masks
from efficient_jax.models.pretrained import weights
from tests.models import seeded

TINY = {  # settings of the smallest network of each kind
    "cnn": {"width": 4},
    "resnet": {"depth": 18},
    "wide_resnet": {"depth": 10, "width": 1},
    "densenet": {},
    "efficientnet": {"variant": "lite0"},
    "vit": {"variant": "Ti/16"},
    "convnext": {"variant": "atto"},
}
STRIDES = {"cnn": (2, 4, 8), "wide_resnet": (1, 2, 4)}  # of the others: 4, 8, 16, 32
SHAPE = (64, 96, 3)
MEAN, STD = (0.5,) * 3, (0.25,) * 3


def backbone(name, **settings):
    return models.MODELS[name](classes=0, **TINY[name], **settings)


@functools.cache  # a trace takes seconds
def shapes(module, train=False, shape=SHAPE):
    """The shapes of (variables, logits, intermediates, state)."""
    apply = models.make_apply(module, MEAN, STD)

    def run(key, images):
        variables = models.init(module, key, shape)
        (logits, seen), state = apply(variables, images, train, jax.random.split(key, len(images)))
        return variables, logits, seen, state

    return jax.eval_shape(run, jax.random.key(0), jax.ShapeDtypeStruct((2, *shape), jnp.uint8))


def paths(tree):
    return {"/".join(path) for path in flatten_dict(tree)}


def test_every_model_but_the_mlp_has_a_pyramid():
    assert {*TINY, "mlp"} == {*models.MODELS}
    with pytest.raises(UserError, match=r"model\.name: MLP has no feature maps"):
        dense_masks(models.MLP(classes=0), 3)


@pytest.mark.parametrize("name", TINY)
def test_a_backbone_has_maps_of_the_strides_that_it_names(name):
    module = backbone(name)
    _, logits, seen, _ = shapes(module)
    assert logits.shape == (2, 0)
    maps = jax.eval_shape(lambda seen: pyramid.feature_maps(module, seen, SHAPE[:2]), seen)
    assert {stride: x.shape[1:3] for stride, x in maps.items()} == {
        stride: (SHAPE[0] // stride, SHAPE[1] // stride) for stride in maps
    }
    assert pyramid.strides_of(module) == STRIDES.get(name, (4, 8, 16, 32))


@pytest.mark.parametrize("name", TINY)
def test_masks_in_bfloat16_and_boxes_have_their_shapes(name):
    module = backbone(name, **({} if name == "cnn" else {"dtype": "bfloat16"}))
    variables, logits, seen, state = shapes(dense_masks(module, 5, width=16), train=True)
    assert (logits.shape, logits.dtype) == ((2, *SHAPE[:2], 5), jnp.float32)
    assert seen["logits"].shape == logits.shape
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert jax.tree.structure(state["batch_stats"]) == jax.tree.structure(variables["batch_stats"])
    detector = dense_boxes(backbone(name), 5, width=16)
    _, logits, *_ = shapes(detector)
    count = len(locations(SHAPE, detector.strides).strides)
    assert (logits.shape, logits.dtype) == ((2, count, 5 + 8), jnp.float32)
    assert detector.strides == STRIDES.get(name, (8, 16, 32))


@pytest.mark.parametrize("name", TINY)
def test_parameters_of_the_backbone_keep_their_names_and_layers(name):
    module = backbone(name)
    network = dense_boxes(module, 5, width=16)
    of_network, of_backbone = shapes(network)[0], shapes(module)[0]
    for collection, tree in of_backbone.items():
        kept = {key: values for key, values in of_network[collection].items() if key not in ("decoder", "head")}
        assert jax.tree.map(lambda x: x.shape, kept) == jax.tree.map(lambda x: x.shape, tree)
    claims = {
        path: [i for i, layer in enumerate(network.layers()) if re.fullmatch(layer, path)]
        for path in paths(of_network["params"])
    }
    assert all(len(found) == 1 for found in claims.values())
    last = {path for path, found in claims.items() if found == [len(network.layers()) - 1]}
    assert last >= {path for path in claims if path.startswith(("decoder/", "head/"))}


@functools.cache
def run(train=False, frozen=False):
    """(function of variables and images, variables) of masks by a CNN."""
    network = dense_masks(backbone("cnn"), 3, width=8)
    variables = models.init(network, jax.random.key(0), (32, 32, 3))
    still = {name: name not in ("decoder", "head") for name in variables["params"]}
    tree = {name: jax.tree.map(lambda _, f=still[name]: f, x) for name, x in variables["params"].items()}
    apply = models.make_apply(network, MEAN, STD, tree if frozen else None)
    return jax.jit(lambda v, x: apply(v, x, train, None)), variables


def test_the_backbone_computes_what_it_does_alone(key):
    images = jax.random.bits(key, (2, 32, 32, 3), jnp.uint8)
    dense, variables = run()
    (_, seen), _ = dense(variables, images)
    alone = models.make_apply(backbone("cnn"), MEAN, STD)
    (_, expected), _ = jax.jit(lambda v, x: alone(v, x, False, None))(variables, images)
    for name in ("stage1", "stage2", "stage3", "features"):
        np.testing.assert_allclose(seen[name], expected[name], atol=1e-6)


def test_a_frozen_backbone_keeps_its_statistics_and_the_decoder_learns(key):
    images = jax.random.bits(key, (2, 32, 32, 3), jnp.uint8)
    dense, variables = run(train=True, frozen=True)
    _, state = dense(variables, images)
    before, after = variables["batch_stats"], state["batch_stats"]
    same = jax.tree.map(lambda a, b: bool((a == b).all()), before, after)
    assert all(jax.tree.leaves({name: tree for name, tree in same.items() if name != "decoder"}))
    assert not any(jax.tree.leaves(same["decoder"]))


def test_resize_is_torchs_upsampling():
    """The example of torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)."""
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, ..., None]
    expected = [[1, 1.25, 1.75, 2], [1.5, 1.75, 2.25, 2.5], [2.5, 2.75, 3.25, 3.5], [3, 3.25, 3.75, 4]]
    np.testing.assert_allclose(pyramid.resize(x, (4, 4))[0, ..., 0], expected, rtol=1e-6)


def test_resize_is_bilinear_between_centers_of_pixels(key):
    """At factors that are no integers too: a value of the input is at the center of its pixel, and borders repeat."""
    x = jax.random.normal(key, (1, 4, 5, 2))
    result = np.asarray(pyramid.resize(x, (7, 13)))[0]
    for row, column in np.ndindex(7, 13):
        y, z = ((i + 0.5) * n / m - 0.5 for i, n, m in ((row, 4, 7), (column, 5, 13)))
        y0, z0 = int(np.floor(y)), int(np.floor(z))
        value = sum(
            (1 - abs(y - i)) * (1 - abs(z - j)) * np.asarray(x[0, np.clip(i, 0, 3), np.clip(j, 0, 4)], np.float64)
            for i in (y0, y0 + 1)
            for j in (z0, z0 + 1)
        )
        np.testing.assert_allclose(result[row, column], value, atol=1e-5)


def test_resize_keeps_bfloat16(key):
    x = jax.random.normal(key, (1, 4, 5, 2), jnp.bfloat16)
    assert pyramid.resize(x, (8, 10)).dtype == jnp.bfloat16


def test_upsample_is_a_transposed_convolution(key):
    x = jax.random.normal(key, (2, 3, 4, 6))
    module = pyramid.Upsample(5)
    params = module.init(jax.random.key(1), x)["params"]["conv"]
    kernel = (
        params["kernel"].reshape(6, 2, 2, 5).transpose(1, 2, 0, 3)[::-1, ::-1]
    )  # jax does not turn it, as torch does
    expected = jax.lax.conv_transpose(x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(module.apply({"params": {"conv": params}}, x), expected, atol=1e-5)


def test_tokens_lie_as_their_patches():
    vit = backbone("vit")
    tokens = jnp.arange(1 + 4 * 6, dtype=jnp.float32)[None, :, None]
    (grid,) = pyramid.feature_maps(vit, {"tokens": tokens}, SHAPE[:2]).values()
    np.testing.assert_array_equal(grid[0, ..., 0], 1.0 + np.arange(24).reshape(4, 6))  # without the class token


@pytest.mark.parametrize(
    ("variant", "strides"), [("Ti/14", (7, 14, 28)), ("Ti/16", (4, 8, 16, 32)), ("Ti/4", (1, 2, 4, 8))]
)
def test_strides_of_a_vit_follow_from_its_patches(variant, strides):
    vit = models.ViT(classes=0, variant=variant)
    assert pyramid.strides_of(vit) == strides
    side = 2 * strides[-1]
    _, logits, *_ = shapes(dense_masks(vit, 3, width=8), shape=(side, side, 3))
    assert logits.shape == (2, side, side, 3)


def scene(at, side=192):
    """A textured square on a gray image, far from its borders."""
    image = np.full((1, side, side, 3), 128, np.uint8)
    image[0, at : at + 8, at : at + 8] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    return jnp.asarray(image)


@pytest.mark.parametrize("make", [dense_masks, dense_boxes])
def test_answers_move_with_the_image(make):
    """By the coarsest stride. Where the borders reach they do not, and no further do they matter: group norms see the
    same activations in both."""
    network = make(backbone("cnn"), 2, width=8, strides=(4, 8))
    variables = models.init(network, jax.random.key(0), (192, 192, 3))
    apply = jax.jit(lambda x: network.apply(variables, x.astype(jnp.float32) / 255.0, train=False)[0])
    before, after = apply(scene(88))[..., :2], apply(scene(96))[..., :2]
    fine = (192, 192) if make is dense_masks else (48, 48)  # the level of stride 4
    before, after = (np.asarray(x).reshape(-1, x.shape[-1])[: fine[0] * fine[1]] for x in (before, after))
    step = 8 * fine[0] // 192
    moved, after = np.roll(before.reshape(*fine, -1), (step, step), (0, 1)), after.reshape(*fine, -1)
    inner = slice(fine[0] // 4, -fine[0] // 4)
    np.testing.assert_allclose(after[inner, inner], moved[inner, inner], rtol=1e-4, atol=1e-5)
    assert np.abs(after - before.reshape(after.shape)).max() > 1e-3


def test_the_first_answers_of_a_detector_are_rare_classes_and_boxes_of_two_strides(key):
    network = dense_boxes(backbone("cnn"), 4, width=8)
    variables = models.init(network, key, (32, 32, 3))
    images = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    logits = np.asarray(jax.jit(lambda x: network.apply(variables, x, train=False)[0])(images))
    np.testing.assert_allclose(logits[..., :4], PRIOR, atol=0.5)
    assert 1.0 / (1.0 + np.exp(-PRIOR)) == pytest.approx(0.01)
    strides = locations((32, 32), network.strides).strides
    np.testing.assert_allclose(logits[..., 5:9] / strides[:, None], 1.0, atol=0.2)


def test_cost_is_counted_by_hand():
    """Of images of 32 x 32 pixels, with levels of 16, 8 and 4 cells a side."""
    module, width, classes = backbone("cnn"), 8, 3
    alone = cost.of_module(module, (32, 32, 3))
    both = cost.of_module(dense_masks(module, classes, width=width), (32, 32, 3))
    laterals, norms, conv, head = (4 + 8 + 16) * width, 4 * 2 * width, 9 * width**2, (width + 1) * classes
    assert both.parameters - alone.parameters == laterals + norms + conv + head
    products = width * (4 * 16**2 + 8 * 8**2 + 16 * 4**2) + (conv + width * classes) * 16**2
    resizes = sum(c * (n * 2 * n * n + n * 2 * n * 2 * n) for n, c in ((4, width), (8, width), (16, classes)))
    assert both.flops - alone.flops == 2 * (products + resizes)
    detector = cost.of_module(dense_boxes(module, classes, width=width), (32, 32, 3))
    towers = 2 * 2 * (9 * width**2 + 2 * width)
    last = (width + 1) * (classes + 5) + 3
    assert detector.parameters - alone.parameters == laterals + 3 * 2 * width + towers + last


def test_published_weights_fill_the_backbone():
    module = models.ResNet(classes=7, depth=18)
    published = seeded.weights({k: v.shape for k, v in weights.torch_state(zeros(module)).items()})
    network = dense_masks(backbone("resnet"), 3, width=8)
    loaded, report = pretrained.load(published, zeros(network))
    same, _ = pretrained.load(published, zeros(module))
    for collection in same:
        of_backbone = {name: tree for name, tree in loaded[collection].items() if name not in ("decoder", "head")}
        expected = {name: tree for name, tree in same[collection].items() if name != "head"}
        jax.tree.map(np.testing.assert_array_equal, of_backbone, expected)
        assert not any(x.any() for x in jax.tree.leaves(loaded[collection]["decoder"]))
    assert {name.split(".")[0] for name in report.new} == {"decoder", "head"}
    assert "more (not in published weights)" in str(report)
    assert {*report.left} == {"head.weight", "head.bias"}
    again, report = pretrained.load(weights.torch_state(loaded), zeros(network))
    jax.tree.map(np.testing.assert_array_equal, again, loaded)
    assert not report.new


def zeros(module):
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes(module)[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dense_masks(models.CNN(classes=3), 3), "has a head for 3 classes; build it with classes=0"),
        (lambda: dense_masks(backbone("cnn"), 3, strides=(3, 8)), r"\(3, 8\) are not different ones of \(2, 4, 8\)"),
        (lambda: dense_boxes(backbone("cnn"), 3, strides=(8, 8)), r"strides: \(8, 8\) are not different"),
        (lambda: dense_boxes(backbone("cnn"), 3, tower=0), "tower: 0 is less than 1"),
        (lambda: dense_masks(backbone("cnn"), 3, width=0), "width: 0 is less than 1"),
        (
            lambda: shapes(dense_boxes(backbone("cnn"), 3), shape=(32, 36, 3)),
            "32x36 pixels is not divided by the stride 8",
        ),
    ],
)
def test_what_does_not_fit_is_said(make, message):
    with pytest.raises(UserError, match=message):
        make()


def rectangles(n, side, rng):
    """Images with a bright and a dark rectangle, and the class of each pixel: 0 is the background."""
    images, masks = np.full((n, side, side, 3), 128, np.uint8), np.zeros((n, side, side), np.int32)
    for image, mask in zip(images, masks, strict=True):
        for label, level in ((1, 230), (2, 20)):
            (top, left), (h, w) = rng.integers(0, side // 2, 2), rng.integers(6, side // 2, 2)
            image[top : top + h, left : left + w], mask[top : top + h, left : left + w] = level, label
    return images + rng.integers(0, 20, images.shape, dtype=np.uint8), masks


def test_masks_of_rectangles_are_learned():
    images, masks = rectangles(8, 32, np.random.default_rng(0))
    network = dense_masks(models.CNN(classes=0, width=8), 3, width=16)
    variables = models.init(network, jax.random.key(0), (32, 32, 3))
    apply = models.make_apply(network, MEAN, STD)
    targets = jax.nn.one_hot(masks, 3)
    tx = optax.adam(1e-2)

    @jax.jit
    def step(variables, opt):
        def loss(params):
            (logits, _), state = apply(variables | {"params": params}, images, True, None)
            return losses.cross_entropy(logits, targets).mean() + losses.dice(logits, targets).mean(), state

        gradient, state = jax.grad(loss, has_aux=True)(variables["params"])
        with jax.numpy_dtype_promotion("standard"):
            updates, opt = tx.update(gradient, opt)
        return {"params": optax.apply_updates(variables["params"], updates), **state}, opt

    opt = tx.init(variables["params"])
    for _ in range(150):
        variables, opt = step(variables, opt)
    (logits, _), _ = jax.jit(lambda v: apply(v, images, False, None))(variables)
    found = np.asarray(logits.argmax(-1))
    ious = [((found == c) & (masks == c)).sum() / ((found == c) | (masks == c)).sum() for c in range(3)]
    assert min(ious) > 0.95
