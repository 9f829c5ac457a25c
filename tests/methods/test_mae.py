"""MAE on a tiny ViT, against its definition in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import erf

from efficient_jax import keys as random_keys
from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.methods import mae
from efficient_jax.models import vit
from efficient_jax.training import parallel
from tests.methods.fake import context, unchanged

SIDE, PATCH, COUNT, HIDDEN = 16, 4, 16, 12
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


@functools.cache
def network(**settings):
    """(apply, parameters of a ViT of 2 blocks, 3 heads of 8 channels, and of a decoder of 1 block)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vit.SIZES, "tiny", (24, 2, 3))
        module = vit.ViT(classes=3, variant=f"tiny/{PATCH}", **settings)
        params = models.init(module, jax.random.key(1), (SIDE, SIDE, 3))["params"]
    apply = models.make_apply(module, MEAN, STD)

    def small(*args):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(vit.SIZES, "tiny", (24, 2, 3))
            return apply(*args)

    tokens = jax.ShapeDtypeStruct((1, COUNT + 1, 24), jnp.float32)
    patches = jax.ShapeDtypeStruct((1, 4, 4, PATCH * PATCH * 3), jnp.float32)
    shapes = {"tokens": tokens, "patches": patches}
    added = mae.parameters(jax.random.key(2), shapes, decoder_width=32, decoder_depth=1)
    rng = np.random.default_rng(0)  # so that nothing in them is zero or one
    return small, jax.tree.map(lambda x: x + jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32), params | added)


def make(labelled=4, unlabelled=4):
    rng = np.random.default_rng(0)
    sizes = {"labelled": labelled, "unlabelled": unlabelled}
    batch = {
        name: {
            "image": jnp.asarray(rng.random((n, SIDE, SIDE, 3)), jnp.float32),
            "label": jnp.full((n, 3), jnp.nan),  # which is not read
            "index": jnp.arange(n, dtype=jnp.int32),
        }
        for name, n in sizes.items()
    }
    root = jax.random.key(0)
    return batch, {name: random_keys.by_position(random_keys.named(root, name), 0, n) for name, n in sizes.items()}


def loss_of(**settings):
    apply, params = network()
    return mae.mae(apply, unchanged, decoder_width=32, decoder_depth=1, **settings), params


def stepped(loss_fn, params, batch, keys, count=1):
    """(mean loss, gradient) on each of `count` devices, which share the batch."""

    def one(batch, keys):
        (loss, aux), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params, {}, context(), batch, keys)
        loss, gradient, weight = jax.lax.psum((loss, gradient, aux.weight), parallel.AXIS)
        return loss / weight, jax.tree.map(lambda g: g / weight, gradient)

    shares = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), (batch, keys))
    return jax.jit(jax.vmap(one, axis_name=parallel.AXIS))(*shares)


def norm(p, x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def blocks(tree, x, heads):
    """Of one image [n d]."""
    for i in range(len(tree)):
        p = tree[str(i)]
        q, k, v = np.split(dense(p["attn"]["qkv"], norm(p["norm1"], x)), 3, axis=1)
        parts = []
        for q1, k1, v1 in zip(*(np.split(y, heads, axis=1) for y in (q, k, v)), strict=True):
            scores = np.exp(q1 @ k1.T / np.sqrt(q1.shape[1]))
            parts.append(scores / scores.sum(1, keepdims=True) @ v1)
        x = x + dense(p["attn"]["proj"], np.concatenate(parts, axis=1))
        y = dense(p["mlp"]["fc1"], norm(p["norm2"], x))
        x = x + dense(p["mlp"]["fc2"], y * (1 + erf(y / np.sqrt(2))) / 2)
    return x


def sines(row, column, width):
    """The embedding of one patch as the paper's code writes it: the column first."""
    rates = 1 / 10_000 ** (np.arange(width // 4) / (width / 4))
    return np.concatenate([f(place * rates) for place in (column, row) for f in (np.sin, np.cos)])


def definition(params, image, kept, hidden, norm_pixels):
    """The loss of one image, patch by patch."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    image = (np.asarray(image, np.float64) - MEAN) / STD
    patches = [
        image[PATCH * i : PATCH * (i + 1), PATCH * j : PATCH * (j + 1)].ravel() for i in range(4) for j in range(4)
    ]
    kernel = p["patch_embed"]["proj"]["kernel"].reshape(-1, 24)
    positions = p["pos_embed"][0]
    seen = [patches[i] @ kernel + p["patch_embed"]["proj"]["bias"] + positions[1 + i] for i in kept]
    encoded = norm(p["norm"], blocks(p["blocks"], np.stack([p["cls_token"][0, 0] + positions[0], *seen]), 3))
    decoder = p["decoder"]
    x = np.tile(decoder["mask_token"][0], (1 + COUNT, 1))
    x[[0, *(1 + np.asarray(kept))]] = dense(decoder["embed"], encoded)
    x[1:] += np.stack([sines(*divmod(i, 4), 32) for i in range(COUNT)])
    predicted = dense(decoder["pixels"], norm(decoder["norm"], blocks(decoder["blocks"], x, 1)))[1:]
    losses = []
    for i in hidden:
        target = patches[i]
        if norm_pixels:
            target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
        losses.append(((predicted[i] - target) ** 2).mean())
    return np.mean(losses)


@pytest.mark.parametrize("norm_pixels", [True, False])
def test_the_loss_is_its_definition(norm_pixels):
    batch, keys = make(labelled=2, unlabelled=2)
    loss_fn, params = loss_of(norm_pixels=norm_pixels)
    loss, _ = stepped(loss_fn, params, batch, keys)
    together = jnp.concatenate([keys["labelled"], keys["unlabelled"]])
    masks = mae.split_patches(random_keys.view(random_keys.view(together, "model"), "patches"), COUNT, HIDDEN)
    images = jnp.concatenate([batch["labelled"]["image"], batch["unlabelled"]["image"]])
    expected = np.mean([definition(params, *each, norm_pixels) for each in zip(images, *masks, strict=True)])
    np.testing.assert_allclose(loss[0], expected, rtol=1e-5)


def test_each_image_has_patches_of_its_own_key(key):
    keys = jax.random.split(key, 200)
    kept, hidden = (np.asarray(part) for part in mae.split_patches(keys, COUNT, HIDDEN))
    assert (kept.shape, hidden.shape) == ((200, 4), (200, 12))
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, hidden], axis=1)), np.tile(np.arange(COUNT), (200, 1)))
    np.testing.assert_array_equal(mae.split_patches(keys[7:8], COUNT, HIDDEN)[0][0], kept[7])  # in any batch
    times = np.bincount(kept.ravel(), minlength=COUNT)  # 50 of each, with a deviation of 6
    assert 25 < times.min() <= times.max() < 75


def test_four_devices_are_one():
    batch, keys = make()
    loss_fn, params = loss_of()
    one, four = (stepped(loss_fn, params, batch, keys, count) for count in (1, 4))
    for device in range(4):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x[device], y[0], rtol=1e-4, atol=1e-6), four, one)  # noqa: B023


def test_the_gradient_is_that_of_hidden_patches_alone():
    """By a closed form: of a kept patch it is 0, of a hidden one twice the error over the number of values."""
    rng = np.random.default_rng(0)
    predicted, targets = (jnp.asarray(rng.standard_normal((2, COUNT, 5)), jnp.float32) for _ in range(2))
    hidden = jnp.array([[0, 3, 7], [15, 2, 1]])
    gradient = jax.grad(lambda x: mae.hidden_errors(x, targets, hidden).sum())(predicted)
    expected = np.zeros((2, COUNT, 5))
    for i, row in enumerate(np.asarray(hidden)):
        expected[i, row] = 2 * (predicted - targets)[i, row] / (5 * 3)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_the_head_and_the_pixels_of_hidden_patches_get_no_gradient_through_the_network():
    """The head is not reached; every other parameter is."""
    batch, keys = make()
    _, gradient = stepped(*loss_of(), batch, keys)
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient["head"]))
    rest = {name: tree for name, tree in gradient.items() if name != "head"}
    assert all(leaf.any() for leaf in jax.tree.leaves(rest))


def test_what_it_learns_of_few_images_it_knows():
    """A constant prediction of 0 costs 1 (but for the unbiased variance)."""
    rng = np.random.default_rng(0)
    ramps = np.linspace(0, 1, SIDE)[None, :, None, None] * rng.random((4, 1, 1, 3)) + 0 * rng.random((4, SIDE, SIDE, 3))
    ramps = np.where(np.arange(4)[:, None, None, None] % 2, ramps, ramps.swapaxes(1, 2))
    batch, keys = make(labelled=0)
    batch = {"unlabelled": batch["unlabelled"] | {"image": jnp.asarray(ramps, jnp.float32)}}
    keys = {"unlabelled": keys["unlabelled"]}
    loss_fn, params = loss_of()
    tx = optax.adam(3e-3)

    @jax.jit
    def trained(params):
        def one(carry, _):
            params, state = carry
            loss, gradient = jax.value_and_grad(lambda p: loss_fn(p, {}, context(), batch, keys)[0] / 4)(params)
            updates, state = tx.update(gradient, state)
            return (optax.apply_updates(params, updates), state), loss

        return jax.lax.scan(one, (params, tx.init(params)), None, length=150)[1]

    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        losses = trained(params)
    assert losses[0] > 0.8
    assert losses[-1] < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loss_of(mask_ratio=1.0), "method.mask_ratio: 1.0 is not between 0.0 and 1.0"),
        (lambda: loss_of(mask_ratio=0.0), "method.mask_ratio: 0.0 is not between 0.0 and 1.0"),
        (lambda: added(decoder_width=40), "method.decoder_width: 40 is not a multiple of 32"),
        (lambda: added(decoder_depth=0), "method.decoder_depth: 0 is less than 1"),
        (lambda: stepped(*loss_of(mask_ratio=0.99), *make()), "method.mask_ratio: 0.99 hides 16 of 16 patches"),
        (lambda: stepped(*loss_of(mask_ratio=0.01), *make()), "method.mask_ratio: 0.01 hides 0 of 16 patches"),
        (
            lambda: stepped(mae.mae(single_values, unchanged), network()[1], *make()),
            "method.norm_pixels: a patch of one",
        ),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises(UserError, match=message):
        call()


def single_values(variables, images, train, keys, kept):
    """A network whose patches have one value each."""
    del variables, train, keys
    tokens = jnp.zeros((*kept.shape, 24))
    return (tokens, {"patches": jnp.zeros((len(images), 4, 4, 1)), "tokens": tokens, "block1": tokens}), {}


def added(decoder_width=32, decoder_depth=1):
    shapes = {name: jax.ShapeDtypeStruct((1, 2, 24), jnp.float32) for name in ("tokens", "patches")}
    return mae.parameters(jax.random.key(0), shapes, decoder_width=decoder_width, decoder_depth=decoder_depth)
