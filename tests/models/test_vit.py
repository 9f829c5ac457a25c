import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.models import attention, positions, vit
from efficient_jax.models.vit import ViT
from tests.models.tiny_vit import CLASSES, SIDE, jitted


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """A size that compiles quickly: "tiny/8" has 2x2 patches, 2 blocks, 3 heads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vit.SIZES, "tiny", (24, 2, 3))
        patch.setitem(vit.SIZES, "odd", (6, 1, 2))
        yield


@pytest.fixture
def images(key):
    return jax.random.normal(key, (4, SIDE, SIDE, 3))


def shapes(module, side):
    params = models.shapes(module, (side, side, 3))["params"]
    return {"/".join(path): leaf.shape for path, leaf in flatten_dict(params).items()}


@pytest.mark.parametrize(
    ("variant", "count"),
    [
        ("Ti/16", 5_717_416),
        ("S/16", 22_050_664),
        ("S/32", 22_878_952),
        ("B/16", 86_567_656),
        ("B/32", 88_224_232),
        ("L/16", 304_326_632),
        ("L/32", 306_535_400),
        ("192x12x3/16", 5_717_416),
    ],
)
def test_published_parameter_counts(variant, count):
    assert sum(int(np.prod(shape)) for shape in shapes(ViT(classes=1000, variant=variant), 224).values()) == count


@pytest.mark.parametrize("hidden", [5, 48])
def test_a_gated_mlp_is_its_definition(hidden):
    module = attention.MLP(0.0, "exact", hidden, swiglu=True)
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 3, 6)), rng.normal(size=(6, 2 * hidden)), rng.normal(size=2 * hidden)
    v, c = rng.normal(size=(hidden, 6)), rng.normal(size=6)
    gate, value = np.split(x @ w + b, 2, axis=-1)
    expected = (gate / (1 + np.exp(-gate)) * value) @ v + c  # arXiv 2002.05202, equation 6, in float64
    params = {"fc1": {"kernel": w, "bias": b}, "fc2": {"kernel": v, "bias": c}}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    np.testing.assert_allclose(module.apply({"params": params}, jnp.asarray(x, jnp.float32), None), expected, rtol=1e-4)


def test_widths_of_mlps_and_any_size():
    found = shapes(ViT(classes=CLASSES, variant="40x1x5/8", mlp_width=24, swiglu=True), SIDE)
    assert (found["blocks/0/mlp/fc1/kernel"], found["blocks/0/mlp/fc2/kernel"]) == ((40, 48), (24, 40))
    assert vit.parse("40x1x5/8") == ((40, 1, 5), 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "40x1x3/8"}, r"^model.variant: '40x1x3/8' wants a width, 40, that its 3 heads divide"),
        ({"variant": "40x1/8"}, r"^model.variant: unknown name '40x1'"),
        ({"variant": "0x1x1/8"}, r"^model.variant: unknown name '0x1x1'"),
        ({"variant": "tiny/8", "mlp_width": -1}, r"^model.mlp_width: -1 is negative; 0 is four times the width"),
    ],
)
def test_sizes_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        shapes(ViT(classes=CLASSES, **settings), SIDE)


def test_a_class_token_has_a_position():
    token = shapes(ViT(classes=1000, pool="token"), 224)
    mean = shapes(ViT(classes=1000, pool="mean", class_token=False), 224)
    assert token.pop("cls_token") == (1, 1, 384)
    assert (token.pop("pos_embed"), mean.pop("pos_embed")) == ((1, 197, 384), (1, 196, 384))
    assert token == mean


def test_every_parameter_belongs_to_one_layer():
    module = ViT(classes=CLASSES, variant="tiny/8")
    layers = module.layers()
    matches = {
        path: [i for i, layer in enumerate(layers) if re.fullmatch(layer, path)] for path in shapes(module, SIDE)
    }
    assert all(len(found) == 1 for found in matches.values())
    roots = [{path.split("/")[0] for path in matches if matches[path] == [i]} for i in range(len(layers))]
    assert roots == [{"cls_token", "pos_embed", "patch_embed"}, {"blocks"}, {"blocks", "norm"}, {"head"}]


@pytest.mark.parametrize(
    "settings",
    [
        {"registers": 4, "layer_scale": 1e-5, "pre_norm": True, "projection": 7},
        {"distilled": True},
        {"pool": "map", "class_token": False},
        {"pool": "mean", "fc_norm": True, "positions": "rope", "prefix_positions": False},
    ],
)
def test_every_parameter_of_other_vits_belongs_to_one_layer(settings):
    module = ViT(classes=CLASSES, variant="tiny/8", **settings)
    matches = {path: sum(bool(re.fullmatch(layer, path)) for layer in module.layers()) for path in shapes(module, SIDE)}
    assert set(matches.values()) == {1}


def test_tokens_before_the_patches_are_counted():
    module = ViT(classes=CLASSES, variant="tiny/8", registers=4, distilled=True, prefix_positions=False)
    found = shapes(module, SIDE)
    assert (module.prefix_tokens, found["pos_embed"]) == (6, (1, 4, 24))
    assert (found["reg_token"], found["dist_token"]) == ((1, 4, 24), (1, 1, 24))


def test_an_eps_above_all_variances_leaves_the_biases_of_norms(images):
    run, variables = jitted(norm_eps=1e9)
    _, seen = run(variables, images, False, None)
    bias = jnp.broadcast_to(variables["params"]["norm"]["bias"], seen["features"].shape)
    np.testing.assert_allclose(seen["features"], bias, atol=1e-3)


def test_a_block_is_one_layer():
    assert len(ViT(classes=CLASSES, variant="L/16").layers()) == 1 + 24 + 1
    assert re.fullmatch(ViT(classes=CLASSES).layers()[12], "blocks/11/attn/qkv/kernel")
    assert not re.fullmatch(ViT(classes=CLASSES).layers()[2], "blocks/11/attn/qkv/kernel")


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_intermediates_are_named_and_end_in_the_logits(images, pool):
    run, variables = jitted(pool=pool)
    logits, seen = run(variables, images, False, None)
    n = 5 if pool == "token" else 4
    blocks = {"block1": (n, 24), "block2": (n, 24), "attention1": (3, n, n), "attention2": (3, n, n)}
    expected = blocks | {"patches": (2, 2, 192), "tokens": (n, 24), "features": (24,), "logits": (CLASSES,)}
    assert {name: value.shape[1:] for name, value in seen.items()} == expected
    head = variables["params"]["head"]
    np.testing.assert_allclose(logits, seen["features"] @ head["kernel"] + head["bias"], atol=1e-5)
    prefix = ViT(CLASSES, "tiny/8", pool, pool == "token").prefix_tokens
    pooled = seen["tokens"][:, 0] if prefix else seen["tokens"].mean(1)
    assert (prefix, seen["tokens"].shape[1]) == (n - 4, n)
    np.testing.assert_allclose(seen["features"], pooled, atol=1e-6)


def test_what_a_token_gives_to_all_tokens_sums_to_one(images):
    run, variables = jitted()
    _, seen = run(variables, images, False, None)
    for name in ("attention1", "attention2"):
        assert seen[name].min() > 0
        np.testing.assert_allclose(seen[name].sum(-1), 1.0, atol=1e-5)
        assert abs(seen[name].sum(-2) - 1.0).max() > 0.1


def test_patches_in_any_order_are_the_same_set_without_positions(images):
    run, variables = jitted(pool="mean")
    params = variables["params"] | {"pos_embed": jnp.zeros((1, 4, 24))}
    halves = jnp.concatenate([images[:, 8:], images[:, :8]], axis=1)
    a, b = (run({"params": params}, x, False, None)[0] for x in (images, halves))
    c, d = (run(variables, x, False, None)[0] for x in (images, halves))
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert abs(c - d).max() > 1e-2


def test_dropout_acts_in_training_only(images, key):
    run, variables = jitted(dropout=0.5)
    keys = jax.random.split(key, 4)
    np.testing.assert_array_equal(run(variables, images, False, keys)[0], run(variables, images, True, None)[0])
    assert (run(variables, images, True, keys)[0] != run(variables, images, True, None)[0]).any()


def test_stochastic_depth_grows_from_nothing_to_its_rate(images, key):
    run, variables = jitted(stochastic_depth=0.999)
    _, kept = run(variables, images, False, None)
    _, seen = run(variables, images, True, jax.random.split(key, 4))
    np.testing.assert_allclose(seen["block1"], kept["block1"], atol=1e-5)
    np.testing.assert_array_equal(seen["block2"], seen["block1"])  # both branches dropped in all four images


def test_bfloat16_computes_narrow_and_returns_wide(images):
    run, variables = jitted(dtype="bfloat16")
    wide, _ = jitted()
    narrow_logits, seen = run(variables, images, False, None)
    logits, _ = wide(variables, images, False, None)
    dtypes = {name: seen[name].dtype for name in ("block2", "attention2", "features", "logits")}
    assert dtypes == {"block2": jnp.bfloat16, "attention2": jnp.float32, "features": jnp.float32, "logits": jnp.float32}
    assert 0 < abs(narrow_logits - logits).max() < 0.05 * abs(logits).max()


OTHERS = [  # what else may precede patches, or say where they are
    {},
    {"registers": 2, "layer_scale": 0.1, "prefix_positions": False},
    {"positions": "rope", "registers": 1},
    {"pool": "mean", "fc_norm": True, "pre_norm": True},
    {"pool": "map"},
    {"distilled": True},
]


@pytest.mark.parametrize("settings", OTHERS)
def test_all_patches_in_any_order_are_the_image(images, settings, key):
    run, variables = jitted(**settings)
    order = jnp.argsort(jax.random.uniform(key, (len(images), 4)), axis=1)
    logits, seen = run(variables, images, False, None)
    found, ordered = run(variables, images, False, None, order)
    np.testing.assert_allclose(found, logits, atol=1e-5)
    prefix = seen["tokens"].shape[1] - 4
    np.testing.assert_allclose(ordered["tokens"][:, :prefix], seen["tokens"][:, :prefix], atol=1e-5)
    patches = jnp.take_along_axis(seen["tokens"][:, prefix:], order[:, :, None], axis=1)
    np.testing.assert_allclose(ordered["tokens"][:, prefix:], patches, atol=1e-5)


@pytest.mark.parametrize("settings", OTHERS)
def test_only_kept_patches_matter(images, settings):
    """The first row of patches of the first two images, the second of the others."""
    run, variables = jitted(**settings)
    kept = jnp.array([[0, 1], [1, 0], [2, 3], [3, 2]])
    tokens, above, below = (
        run(variables, x, False, None, kept)[1]["tokens"]
        for x in (images, images.at[:, :8].add(1.0), images.at[:, 8:].multiply(-2.0))
    )
    assert tokens.shape[1] == run(variables, images, False, None)[1]["tokens"].shape[1] - 2
    np.testing.assert_array_equal(above[2:], tokens[2:])
    np.testing.assert_array_equal(below[:2], tokens[:2])
    assert abs(above[:2] - tokens[:2]).max(2).min() > 1e-3
    assert abs(below[2:] - tokens[2:]).max(2).min() > 1e-3


def test_patches_are_those_of_the_image(images):
    run, variables = jitted()
    patches = run(variables, images, False, None)[1]["patches"]
    for i in range(2):
        for j in range(2):
            square = images[:, 8 * i : 8 * (i + 1), 8 * j : 8 * (j + 1)]
            np.testing.assert_array_equal(patches[:, i, j], square.reshape(4, -1))


@pytest.mark.parametrize("settings", OTHERS)
def test_an_image_of_another_size_has_resampled_positions(settings, key):
    """It is what a network computes whose position embedding was resampled before."""
    run, variables = jitted(**settings)
    images, params = jax.random.normal(key, (4, 24, 16, 3)), variables["params"]
    resampled = dict(params)
    if "pos_embed" in params:
        prefix = params["pos_embed"].shape[1] - 4
        resampled["pos_embed"] = positions.resample_pos_embed(params["pos_embed"], (3, 2), prefix)
        assert resampled["pos_embed"].shape[1] == prefix + 6
    found, expected = (run({"params": p}, images, False, None)[0] for p in (params, resampled))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sines_and_cosines_of_positions_are_their_definition():
    """Column first, then row; of each the sines of all rates, then the cosines."""
    found = positions.sine_cosine((2, 3), 8)
    for i, row in enumerate(found):
        y, x = divmod(i, 3)
        expected = [f(place * rate) for place in (x, y) for f in (np.sin, np.cos) for rate in (1.0, 0.01)]
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_query_key_and_value_are_initialised_as_three_xavier_matrices(key):
    x = jnp.zeros((1, 2, 48))
    kernel = jax.jit(attention.Attention(3, 0.0).init)(key, x, None)["params"]["qkv"]["kernel"]
    bound = np.sqrt(6 / (48 + 48))
    assert 0.99 * bound < abs(kernel).max() <= bound


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "X/16"}, "'X'"),
        ({"variant": "tiyn/8"}, "did you mean 'tiny'"),
        ({"variant": "S16"}, "'S16'"),
        ({"variant": "S"}, "no patch size"),
        ({"variant": "S/0"}, "no patch size"),
        ({"variant": "S/big"}, "no patch size"),
        ({"variant": "tiny/5"}, "16x16 pixels is not made of 5x5 patches"),
        ({"pool": "maen"}, "did you mean 'mean'"),
        ({"class_token": False}, "pool='token' needs the class token"),
        ({"distilled": True, "projection": 4}, "model.distilled: the head takes tokens as they are"),
        ({"positions": "rop"}, "did you mean 'rope'"),
        ({"qkv_bias": "qk"}, "model.qkv_bias: unknown name 'qk'"),
        ({"gelu": "fast"}, "model.gelu: unknown name 'fast'"),
        ({"variant": "odd/8", "positions": "rope"}, "heads of a multiple of 4 channels, not 3"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        shapes(ViT(classes=CLASSES, **settings), SIDE)


@pytest.mark.parametrize("kind", ["learned", "rope"])
def test_remat_leaves_logits_and_gradients_as_they_are(images, kind):
    """It is in the program: every block is computed again."""
    _, variables = jitted(positions=kind)
    key = jax.random.split(jax.random.key(0), len(images))

    def gradient(remat):
        module = ViT(CLASSES, "tiny/8", dropout=0.1, stochastic_depth=0.2, remat=remat, positions=kind)
        return jax.grad(lambda v: (module.apply(v, images, True, key)[0] ** 2).sum())

    plain, again = (jax.jit(gradient(remat))(variables) for remat in (False, True))
    largest = max(np.abs(x).max() for x in jax.tree.leaves(plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-6 * largest), plain, again)
    assert str(jax.make_jaxpr(gradient(True))(variables)).count("remat") >= 2
