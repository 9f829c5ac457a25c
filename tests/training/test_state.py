"""What the step carries, and the moving average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from efficient_jax.training import state

VARIABLES = {"params": {"w": jnp.arange(3.0)}, "batch_stats": {"mean": jnp.ones(2)}}


def averages(values, decay):
    """The average after each of `values`, from a first one that should leave no trace."""
    ema, found = {"w": jnp.float32(1e3)}, []
    for step, value in enumerate(values):
        ema = state.update_ema(ema, {"w": jnp.float32(value)}, jnp.int32(step), decay)
        found.append(ema["w"].item())
    return found


def test_parameters_and_what_a_forward_pass_renews_are_apart():
    created = state.create(VARIABLES, optax.sgd(0.1, momentum=0.9))
    assert set(created) == {"step", "params", "model_state", "opt", "ema"}
    assert created["step"] == 0
    assert set(created["model_state"]) == {"batch_stats"}
    jax.tree.map(np.testing.assert_array_equal, created["ema"], VARIABLES)


def test_no_two_leaves_share_a_buffer():
    """Two names for one buffer cannot both be donated."""
    leaves = jax.tree.leaves(state.create(VARIABLES, optax.sgd(0.1, momentum=0.9)))
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


def test_the_average_starts_as_the_plain_mean():
    values = [3.0, 5.0, -2.0, 7.0, 0.5]
    expected = [np.mean(values[: i + 1]) for i in range(5)]
    np.testing.assert_allclose(averages(values, decay=0.999), expected, rtol=1e-5)


def test_then_the_decay_takes_over():
    """At 0.5 the mean of two is the last plain one; from there on the old half is halved."""
    np.testing.assert_allclose(averages([1.0, 3.0, 6.0, 0.0], decay=0.5), [1.0, 2.0, 4.0, 2.0], rtol=1e-6)


def test_decay_zero_is_the_last_value():
    assert averages([4.0, -1.0, 2.0], decay=0.0) == [4.0, -1.0, 2.0]


def test_the_average_of_what_does_not_change_keeps_every_bit():
    same = {"w": jax.random.normal(jax.random.key(0), (1000,))}
    averaged = same
    for i in range(20):
        averaged = state.update_ema(averaged, same, jnp.int32(i), 0.9)
    np.testing.assert_array_equal(averaged["w"], same["w"])
