import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.models.mlp import MLP


def build(**settings):
    module = MLP(classes=3, width=16, **settings)
    return module, models.init(module, jax.random.key(1), (4, 5, 1))


def test_parameters_are_those_of_hinton():
    """Two layers of 1,200 on 28 x 28 pixels: 2.4 million."""
    variables = jax.eval_shape(
        lambda key: models.init(MLP(classes=10, width=1200), key, (28, 28, 1)), jax.random.key(0)
    )
    sizes = 784 * 1200 + 1200 + 1200 * 1200 + 1200 + 1200 * 10 + 10
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == sizes == 2_395_210


def test_the_logits_are_two_layers_of_relu_and_a_head(key):
    module, variables = build()
    x = jax.random.normal(key, (2, 4, 5, 1))
    logits, seen = module.apply(variables, x, False)
    h = np.asarray(x, np.float64).reshape(2, -1)
    for name in ("hidden1", "hidden2"):
        layer = variables["params"][name]
        h = np.maximum(h @ layer["kernel"] + layer["bias"], 0)
        np.testing.assert_allclose(seen[name], h, atol=1e-5)
    np.testing.assert_array_equal(seen["features"], seen["hidden2"])
    head = variables["params"]["head"]
    np.testing.assert_allclose(logits, h @ head["kernel"] + head["bias"], atol=1e-5)
    np.testing.assert_array_equal(seen["logits"], logits)


def test_dropout_acts_in_training_only(key):
    module, variables = build(dropout=0.5, depth=1)
    x, keys = jnp.ones((4, 4, 5, 1)), jax.random.split(key, 4)
    plain, _ = module.apply(variables, x, False, keys)
    np.testing.assert_array_equal(plain, module.apply(variables, x, True, None)[0])
    dropped, _ = module.apply(variables, x, True, keys)
    assert (dropped[0] != dropped[1]).any()


def test_no_layer_is_none():
    with pytest.raises(UserError, match=r"model\.depth: 0 is less than 1"):
        build(depth=0)
