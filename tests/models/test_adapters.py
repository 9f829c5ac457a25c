"""LoRA: what it adds, and that what is merged is an ordinary network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.models import adapters, vit
from efficient_jax.optim import optimizer
from efficient_jax.training import state

RANK, D, DEPTH = 4, 24, 2
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)


@pytest.fixture(scope="module")
def network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vit.SIZES, "adapted", (D, DEPTH, 3))
        yield small_network()


def small_network():
    module = models.ViT(3, "adapted/8")
    return models.make_apply(module, (0.5,), (0.25,)), models.init(module, jax.random.key(0), (16, 16, 1))["params"]


def pairs_of(params, **settings):
    return adapters.lora(jax.random.key(1), params, **settings)


def drawn(pairs):
    """A and B as after training: B is no longer 0."""
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda x: jnp.float32(0.3 * rng.standard_normal(x.shape)), pairs)


@pytest.mark.parametrize(("targets", "kernels"), [("qv", 2), ("all", 4)])
def test_the_first_forward_pass_is_bit_for_bit_that_of_the_network(network, targets, kernels):
    apply, params = network
    pairs, merge = pairs_of(params, rank=RANK, targets=targets)
    jax.tree.map(np.testing.assert_array_equal, params, merge(params | pairs))
    assert merge(params) == params
    assert sum(x.size for x in jax.tree.leaves(pairs)) == DEPTH * kernels * RANK * (D + D)
    run = jax.jit(lambda apply, p: apply({"params": p}, IMAGES, False, None)[0][0], static_argnums=0)
    merging = run(adapters.merging(apply, merge), params | pairs)
    np.testing.assert_array_equal(run(apply, params), merging)


@pytest.mark.parametrize(("targets", "alpha"), [("qv", 0.0), ("all", 6.0)])
def test_merged_kernels_compute_what_low_rank_branches_add(network, targets, alpha):
    """By the definition: x W + (alpha / r) (x A) B, in float64; nothing is added to the keys of "qv"."""
    _, params = network
    pairs, merge = pairs_of(params, rank=RANK, alpha=alpha, targets=targets)
    pairs = drawn(pairs)
    merged, rng = merge(params | pairs), np.random.default_rng(3)
    x = rng.standard_normal((5, D))
    scale = (alpha or RANK) / RANK
    for i in range(DEPTH):
        before, after = (tree["blocks"][str(i)]["attn"] for tree in (params, merged))
        q, k, v = (x @ np.float64(before["qkv"]["kernel"])).reshape(5, 3, D).swapaxes(0, 1)
        parts = {"q": q, "k": k, "v": v, "proj": x @ np.float64(before["proj"]["kernel"])}
        for name, pair in pairs["lora"]["blocks"][str(i)]["attn"].items():
            parts[name] = parts[name] + scale * (x @ np.float64(pair["a"])) @ np.float64(pair["b"])
        packed = np.concatenate([parts[name] for name in "qkv"], 1)
        np.testing.assert_allclose(x @ np.float64(after["qkv"]["kernel"]), packed, atol=1e-5)
        np.testing.assert_allclose(x @ np.float64(after["proj"]["kernel"]), parts["proj"], atol=1e-5)


def test_only_the_pairs_and_the_head_move_and_nothing_of_them_decays(network):
    """A step with a strong weight decay: A stays where its gradient is 0, as it is while B is 0."""
    apply, params = network
    pairs, merge = pairs_of(params, rank=RANK)
    both = params | pairs
    rules = (("(head|lora)/.*", 1.0), (".*", 0.0))
    tx, table = optimizer.optimizer(
        both, 10, learning_rate=0.1, weight_decay=0.5, clip=0.0, rules=rules, algorithm={"name": "sgd"}
    )
    assert next(row.parameters for row in table) == D * 3 + 3 + DEPTH * 2 * RANK * 2 * D
    frozen = optimizer.frozen(both, rules)
    network_of = adapters.merging(apply, merge)

    @jax.jit
    def step(both, opt):
        def loss(p):
            held = jax.tree.map(lambda x, still: jax.lax.stop_gradient(x) if still else x, p, frozen)
            return (network_of({"params": held}, IMAGES, False, None)[0][0] ** 2).sum()

        return optimizer.update(tx, jax.grad(loss)(both), opt, both)

    after, _ = step(both, tx.init(both))
    for name in params:
        if name != "head":
            jax.tree.map(np.testing.assert_array_equal, params[name], after[name])
    for layer in (adapters._at(tree, ("lora", "blocks", "0", "attn", "q")) for tree in (pairs, after)):
        first = pairs["lora"]["blocks"]["0"]["attn"]["q"]["a"]
        np.testing.assert_array_equal(first, layer["a"])
    moved = jax.tree.map(lambda x: bool(x.any()), after["lora"]["blocks"]["1"]["attn"])
    assert all(pair["b"] for pair in moved.values())


def test_the_average_is_that_of_merged_kernels(network):
    """A mean of products is not the product of the means."""
    _, params = network
    pairs, merge = pairs_of(params, rank=RANK)
    one, other = (merge(params | jax.tree.map(lambda x, s=s: s * x, drawn(pairs))) for s in (1.0, -1.0))
    tree = state.update_ema(state.update_ema(params, one, jnp.int32(0), 0.99), other, jnp.int32(1), 0.99)
    kernel = tree["blocks"]["0"]["attn"]["qkv"]["kernel"]
    np.testing.assert_allclose(kernel, one["blocks"]["0"]["attn"]["qkv"]["kernel"], atol=1e-6)
    assert np.abs(kernel - params["blocks"]["0"]["attn"]["qkv"]["kernel"]).max() > 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "lora.rank: 0 is less than 1"),
        ({"rank": 4, "alpha": -1.0}, "lora.alpha: -1.0 is negative"),
        ({"rank": 4, "targets": "al"}, "lora.targets: unknown name 'al'; did you mean 'all'"),
    ],
)
def test_settings_out_of_range_are_said(network, settings, message):
    with pytest.raises(UserError, match=message):
        pairs_of(network[1], **settings)


def test_a_network_without_attention_is_said():
    with pytest.raises(UserError, match="no attention"):
        pairs_of({"conv": {"kernel": np.zeros((3, 3))}}, rank=4)
