"""Means of weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import models
from efficient_jax.training import averaging


def trees(count):
    rng = np.random.default_rng(0)
    return [
        {"w": rng.standard_normal((4, 3)).astype(np.float32), "b": rng.standard_normal(3).astype(np.float32)}
        for _ in range(count)
    ]


def test_a_linear_model_of_mean_weights_predicts_the_mean():
    x = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    several = trees(3)
    predicted = np.mean([x @ t["w"] + t["b"] for t in several], 0)
    found = averaging.mean(several)
    np.testing.assert_allclose(x @ found["w"] + found["b"], predicted, atol=1e-6)


def test_copies_average_to_themselves():
    (tree,) = trees(1)
    jax.tree.map(np.testing.assert_array_equal, averaging.mean([tree] * 7), tree)


def test_a_greedy_soup_is_never_worse_than_the_best():
    """Two that lie on opposite sides of the goal join; one that leads away stays out."""
    several = [{"w": np.float32(x)} for x in (3.0, 2.0, -2.5, 40.0)]
    chosen, scores = averaging.greedy_soup(several, lambda tree: -abs(float(tree["w"])))
    assert (chosen, scores) == ([1, 2], [-2.0, -0.25])
    assert averaging.greedy_soup(several[:1], lambda tree: float(tree["w"])) == ([0], [3.0])


@pytest.fixture(scope="module")
def network():
    module = models.MODELS["cnn"](classes=3, width=4, dropout=0.5)
    apply = jax.jit(models.make_apply(module, (0.5,), (0.25,)), static_argnums=2)
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (48, 8, 8, 1)), jnp.uint8)
    return apply, models.init(module, jax.random.key(0), (8, 8, 1)), images


def test_of_one_batch_statistics_are_its_own(network):
    """With them evaluation is what training saw, but for dropout."""
    apply, variables, images = network
    found = averaging.batch_statistics(apply, variables, [images])
    trained, evaluated = (apply(found, images, train, None)[0][0] for train in (True, False))
    np.testing.assert_allclose(trained, evaluated, atol=1e-5)


def test_batches_that_differ_have_the_statistics_of_all(network):
    """Of the first layer, which no other normalisation comes before; sizes are uneven, and the batches sorted."""
    apply, variables, images = network
    images = images[np.argsort(images.mean((1, 2, 3)))]
    whole, parts = (
        averaging.batch_statistics(apply, variables, batches)["batch_stats"]["stage1"]["norm"]
        for batches in ([images], [images[:20], images[20:30], images[30:]])
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), whole, parts)


def test_without_batch_statistics_nothing_changes():
    assert averaging.batch_statistics(lambda *_: None, {"params": 1}, []) == {"params": 1}
