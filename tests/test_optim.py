import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import optim
from efficient_jax.types import UserError

ALL = ((".*", 1.0),)
SETTINGS = {"steps": 100, "learning_rate": 0.1, "warmup": 0, "weight_decay": 0.0, "clip": 0.0, "rules": ALL}


@pytest.fixture
def params():
    return {
        "body": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5])},
        "head": {"kernel": jnp.array([[3.0, 4.0]]), "bias": jnp.array([-1.0])},
    }


def run(params, grads, updates, **settings):
    tx, _ = optim.optimizer(params, **(SETTINGS | settings))
    state = tx.init(params)
    step = jax.jit(lambda params, state: optim.update(tx, grads, state, params))
    for _ in range(updates):
        params, state = step(params, state)
    return params


def test_schedule_rises_linearly_and_falls_as_a_cosine():
    rate = optim.schedule(learning_rate=2.0, steps=100, warmup=10)
    values = [rate(step) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(values, [0.0, 1.0, 2.0, 1.0, 0.0], atol=1e-6)


def test_schedule_without_warmup_starts_at_its_peak():
    rate = optim.schedule(learning_rate=2.0, steps=100, warmup=0)
    np.testing.assert_allclose([rate(0), rate(50)], [2.0, 1.0], atol=1e-6)


@pytest.mark.parametrize("warmup", [-1, 100])
def test_warmup_must_end_before_training(warmup):
    with pytest.raises(UserError, match="warmup"):
        optim.schedule(learning_rate=1.0, steps=100, warmup=warmup)


def test_frozen_parameters_keep_every_bit(params):
    grads = jax.tree.map(jnp.ones_like, params)
    after = run(params, grads, 3, weight_decay=0.1, clip=1.0, rules=(("body/.*", 0.0), *ALL))
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(after["body"][name], params["body"][name])
        assert (after["head"][name] != params["head"][name]).all()


def test_a_multiplier_scales_the_update(params):
    grads = jax.tree.map(jnp.ones_like, params)
    rules = (("body/.*", 0.125), *ALL)
    slow, plain = (run(params, grads, 1, weight_decay=0.25, rules=rules) for rules in (rules, ALL))
    for name in ("kernel", "bias"):
        moved = slow["body"][name] - params["body"][name]
        full = plain["body"][name] - params["body"][name]
        np.testing.assert_allclose(moved, 0.125 * full, atol=1e-6)
        np.testing.assert_array_equal(slow["head"][name], plain["head"][name])


def test_first_step_is_the_sign_of_the_gradient(params):
    grads = jax.tree.map(lambda p: 7.0 * jnp.sign(p), params)
    after = run(params, grads, 1)
    for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(new, old - 0.1 * jnp.sign(old), atol=2e-6)


def test_only_kernels_decay(params):
    after = run(params, jax.tree.map(jnp.zeros_like, params), 4, weight_decay=0.2, steps=10)
    rates = [0.05 * (1 + np.cos(np.pi * step / 10)) for step in range(4)]
    for part in ("body", "head"):
        shrunk = params[part]["kernel"] * np.float32(np.prod([1 - 0.2 * rate for rate in rates]))
        np.testing.assert_allclose(after[part]["kernel"], shrunk, rtol=1e-6)
        np.testing.assert_array_equal(after[part]["bias"], params[part]["bias"])


def test_clip_does_not_count_frozen_gradients(params):
    grads = jax.tree.map(lambda p: 1e-8 * jnp.ones_like(p), params)  # near Adam's epsilon, where scale shows
    rules = (("body/.*", 0.0), *ALL)
    huge = grads | {"body": jax.tree.map(lambda p: 1e6 * jnp.ones_like(p), params["body"])}
    quiet, loud = (run(params, g, 1, clip=1.0, rules=rules)["head"] for g in (grads, huge))
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(quiet[name], loud[name])


def test_clip_bounds_the_gradient(params):
    grads = jax.tree.map(jnp.ones_like, params)
    clipped = run(params, grads, 1, clip=1e-8)
    norm = np.sqrt(sum(leaf.size for leaf in jax.tree.leaves(params)))
    g = 1e-8 / norm  # each entry of the clipped gradient
    np.testing.assert_allclose(clipped["head"]["bias"], -1.0 - 0.1 * g / (g + 1e-8), rtol=1e-5)


def test_the_table_counts_what_each_rule_claims(params):
    settings = SETTINGS | {"weight_decay": 0.1, "rules": (("body/.*", 0.0), (".*/bias", 2.0), *ALL)}
    _, table = optim.optimizer(params, **settings)
    assert table == [("body/.*", 0.0, 2, 3, 0), (".*/bias", 2.0, 1, 1, 0), (".*", 1.0, 1, 2, 2)]


def test_shapes_are_enough_to_plan(params):
    shapes = jax.eval_shape(lambda: params)
    assert optim.optimizer(shapes, **SETTINGS)[1] == optim.optimizer(params, **SETTINGS)[1]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((("body/.*", 1.0),), r"no rule matches head/bias, head/kernel; .*'body/\.\*' x 1\.0 claims 2 tensors"),
        ((("head", 1.0), *ALL), r"nothing is left for the rule 'head'"),
        ((*ALL, ("head/.*", 0.1)), r"nothing is left for the rule 'head/\.\*'"),
        ((("(", 1.0), *ALL), r"'\(' is not a regular expression"),
        (((".*", -1.0),), r"negative"),
        ((".*", *ALL), r"'\.\*' is not a pair"),
    ],
)
def test_rules_must_fit_the_parameters(params, rules, message):
    with pytest.raises(UserError, match=message):
        optim.optimizer(params, **(SETTINGS | {"rules": rules}))
