"""The same run on any number of devices, and no update where there is nothing to learn from."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from efficient_jax import augment
from efficient_jax.training import parallel, step
from efficient_jax.training.labels import Labels
from efficient_jax.training.state import create
from efficient_jax.types import Aux
from tests.training.problem import losses, make

AUGMENT = {
    "ops": ("affine", "randaugment", "cutout", "mixup"),
    "affine": {"rotate": 15.0, "translate": 0.1},
    "randaugment": {"layers": 1, "magnitude": 5.0, "ops": ("shear_x", "color", "solarize")},
    "cutout": {"size": 3},
    "mixup": {"alpha": 0.2},
}


@functools.cache
def plain(count):
    """(losses, last state) of the problem without augmentation, trained once for all tests."""
    return losses(make(count))


@pytest.mark.parametrize("count", [2, 4])
def test_devices_do_not_change_the_losses(count):
    np.testing.assert_allclose(plain(count)[0], plain(1)[0], rtol=1e-5)


@pytest.mark.versions
def test_devices_do_not_change_the_losses_with_augmentation():
    ops = AUGMENT["ops"]
    mixed = augment.build(ops, {name: AUGMENT[name] for name in ops})
    one, _ = losses(make(1, mixed))
    many, _ = losses(make(4, mixed))
    np.testing.assert_allclose(many, one, rtol=5e-5)


def test_devices_do_not_change_the_losses_with_saliency():
    """Which blocks are pasted hangs on gradients by the pixels, which are of each image alone."""
    mixed = augment.build(("flip", "saliency_cutmix"), {"saliency_cutmix": {"blocks": 4}})
    one, _ = losses(make(1, mixed))
    many, _ = losses(make(4, mixed))
    np.testing.assert_allclose(many, one, rtol=5e-5)
    assert not np.allclose(one, plain(1)[0], rtol=1e-3)


def test_accumulated_gradients_are_those_of_the_whole_batch():
    """Of a network without batch statistics, with the draws of augmentation and dropout that each image has."""
    mixed = augment.build(("brightness", "mixup"), {"brightness": {"strength": 0.5}, "mixup": {"alpha": 0.2}})
    whole, _ = losses(make(2, mixed, network="mlp"))
    parts, _ = losses(make(2, mixed, network="mlp", accumulate=4))
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_sam_takes_the_gradient_along_the_gradient():
    """Of the loss w @ A w / 2 of one weight vector: w is replaced by w + rho A w / |A w| in its gradient A w."""
    a, w = np.diag([1.0, 10.0]).astype(np.float32), np.array([3.0, 4.0], np.float32)

    def loss_fn(params, model_state, context, batch, keys):
        del context, keys
        n = float(len(batch["labelled"]["label"]))
        return n * 0.5 * params["w"] @ a @ params["w"], Aux(n, model_state, {})

    compiled = step.make_train_step(
        loss_fn, optax.sgd(0.1), steps=1, ema_decay=0.0, devices=jax.local_devices()[:2], sam=0.5
    )
    problem = make(2)
    _, teachers, counts, data, key, inputs = problem.arguments(None, 0)
    state = parallel.replicate(create({"params": {"w": w}}, optax.sgd(0.1)), problem.devices)
    state, _ = compiled(state, teachers, counts, data, key, inputs)
    gradient = a @ w
    expected = w - 0.1 * a @ (w + 0.5 * gradient / np.linalg.norm(gradient))
    np.testing.assert_allclose(state["params"]["w"], expected, rtol=1e-5)


def test_sam_is_the_same_on_four_devices_and_differs_from_plain_steps():
    one, four = (losses(make(count, sam=0.05), steps=5)[0] for count in (1, 4))
    np.testing.assert_allclose(four, one, rtol=1e-5)
    assert not np.allclose(one, plain(1)[0][:5], rtol=1e-4)


@pytest.mark.parametrize(("network", "count"), [("mlp", 1), ("cnn", 7)])
def test_collectives(network, count):
    """One for all gradients and metrics; two for each of the three normalisations, forward and backward."""
    problem = make(2, network=network)
    jax.config.update("jax_disable_most_optimizations", False)  # XLA puts together what can be
    program = problem.step.lower(*problem.arguments(problem.state, 0)).compile().as_text()
    jax.config.update("jax_disable_most_optimizations", True)
    assert len(re.findall(r" (?:all-|collective-|reduce-scatter)[\w-]*\(", program)) == count


def test_nothing_moves_between_host_and_devices_in_a_step():
    problem = make(2)
    first, _ = problem.update(problem.state, 0)
    arguments = problem.arguments(first, 1)
    with jax.transfer_guard("disallow_explicit"):
        jax.block_until_ready(problem.step(*arguments))


def test_loss_falls():
    found, _ = losses(make(2, dropout=0.0, learning_rate=1e-2))
    assert np.mean(found[-5:]) < 0.9 * np.mean(found[:5])


def test_replicas_agree_after_training():
    parallel.assert_replicas_agree(plain(4)[1])


def test_replicas_that_differ_are_found():
    devices = jax.local_devices()[:2]
    apart = parallel.pmap(lambda x: x + jax.lax.axis_index(parallel.AXIS), devices, in_axes=(0,), out_axes=None)
    with pytest.raises(AssertionError, match="disagree about"):
        parallel.assert_replicas_agree({"w": apart(np.zeros((2, 3), np.int32))})


def test_ema_starts_as_the_mean_of_the_weights():
    problem = make(1)
    first, _ = problem.update(problem.state, 0)
    weights = [jax.device_get(first["params"])]
    second, _ = problem.update(first, 1)
    weights.append(jax.device_get(second["params"]))
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *weights)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), jax.device_get(second["ema"]["params"]), mean
    )


def test_what_a_loss_is_given():
    """The place of each image, the average before the update, the share of steps done; a memory is kept as it is
    renewed, and is no part of the average."""
    devices = jax.local_devices()[:2]

    def loss_fn(params, model_state, context, batch, keys):
        del keys
        index = parallel.gathered(batch["labelled"]["index"])
        about = {"progress": (context.progress, 1.0), "average": (context.ema["params"]["w"], 1.0)}
        renewed = {"memory": model_state["memory"].at[index].add(1)}
        return params["w"] * len(batch["labelled"]["index"]), Aux(4.0, renewed, about)

    tx = optax.sgd(1.0)
    compiled = step.make_train_step(loss_fn, tx, steps=4, ema_decay=0.9, devices=devices)
    first = create({"params": {"w": jnp.float32(3.0)}}, tx, memory=np.zeros(8, np.int32))
    assert set(first["ema"]) == {"params"}
    data = {"image": np.zeros((8, 1, 1, 1), np.uint8), "label": Labels(np.zeros((8, 1), np.int32), None)}
    current, counts, data, key = parallel.replicate((first, np.ones(4, np.float32), data, jax.random.key(0)), devices)
    for i in range(3):
        rows = parallel.shared(np.array([[1, 2, 3, 5]]), devices)
        current, metrics = compiled(current, (), counts, data, key, {"labelled": {"index": rows}})
        sums = {name: float(total / 2.0) for name, (total, _) in metrics.items()}
        assert sums["progress"] == i / 4
        # Each update takes 0.5 from the weight; the average starts as the mean of the weights.
        np.testing.assert_allclose(sums["average"], [3.0, 2.5, 2.25][i])
    np.testing.assert_array_equal(current["model_state"]["memory"], [0, 3, 3, 3, 0, 3, 0, 0])
    assert set(current["ema"]) == {"params"}
