import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from efficient_jax.errors import UserError
from efficient_jax.optim.schedules import SCHEDULES, schedule

BLOCKS = {
    "constant": {},
    "step": {"boundaries": (30, 60)},
    "exponential": {"period": 10},
    "cosine": {},
    "quarter_cosine": {},
    "cyclic": {"period": 10},
    "one_cycle": {},
}


def multipliers(name, *, steps=100, warmup=0, **settings):
    """Of every step, and of the one after the last."""
    rate = schedule(learning_rate=1.0, steps=steps, warmup=warmup, schedule={"name": name, **settings})
    return np.array(jax.jit(jax.vmap(rate))(jnp.arange(steps + 1)))


def test_every_schedule_is_tested():
    assert BLOCKS.keys() == SCHEDULES.keys()


@pytest.mark.parametrize("warmup", [0, 7])
def test_cosine_is_the_one_of_optax_bit_for_bit(warmup):
    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.jit(jax.vmap(optax.warmup_cosine_decay_schedule(0.0, 3e-3, warmup, 60)))(jnp.arange(60))
    ours = jax.jit(jax.vmap(schedule(learning_rate=3e-3, steps=60, warmup=warmup)))(jnp.arange(60))
    np.testing.assert_array_equal(ours, theirs)


def test_exponential_is_a_staircase_behind_the_warmup():
    found = multipliers("exponential", warmup=10, period=20, factor=0.5)
    np.testing.assert_allclose(found[[9, 10, 29, 30, 50, 99]], [0.9, 1.0, 1.0, 0.5, 0.25, 0.0625])


def test_a_quarter_of_a_cosine():
    found = multipliers("quarter_cosine", share=1.0)
    np.testing.assert_allclose(found[[0, 50, 100]], [1.0, np.sqrt(0.5), 0.0], atol=1e-6)
    np.testing.assert_allclose(multipliers("quarter_cosine")[100], np.cos(7 * np.pi / 16), atol=1e-6)


def test_cosine_values():
    found = multipliers("cosine", warmup=10)
    np.testing.assert_allclose(found[[0, 5, 10, 55, 100]], [0.0, 0.5, 1.0, 0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(multipliers("cosine", final=0.2)[[0, 50, 100]], [1.0, 0.6, 0.2], atol=1e-6)


def test_step_falls_at_its_boundaries_counted_from_the_start():
    found = multipliers("step", boundaries=(20, 40), factor=0.1, warmup=5)[[5, 19, 20, 39, 40, 99]]
    np.testing.assert_allclose(found, [1.0, 1.0, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_cycles_grow_and_restart_at_the_peak():
    found = multipliers("cyclic", period=10, growth=2.0, final=0.1)[[0, 5, 9, 10, 20, 29, 30, 50, 70]]
    torch = [1.0, 0.55, 0.1220246, 1.0, 0.55, 0.1055402, 1.0, 0.55, 1.0]  # CosineAnnealingWarmRestarts(10, 2, 0.1)
    np.testing.assert_allclose(found, torch, atol=1e-6)


@pytest.mark.parametrize(("growth", "lengths"), [(1.0, (8,) * 13), (1.5, (8, 12, 18, 27, 40))])
def test_cycles_are_those_of_optax(growth, lengths):
    cycles = [{"init_value": 1.0, "peak_value": 1.0, "warmup_steps": 0, "decay_steps": n} for n in lengths]
    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.jit(jax.vmap(optax.sgdr_schedule(cycles)))(jnp.arange(101))
    np.testing.assert_allclose(multipliers("cyclic", period=8, growth=growth), theirs, atol=1e-6)


def test_one_cycle_is_the_one_of_optax():
    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.jit(jax.vmap(optax.cosine_onecycle_schedule(100, 1.0)))(jnp.arange(101))
    found = multipliers("one_cycle")
    np.testing.assert_allclose(found, theirs, atol=1e-6)
    np.testing.assert_allclose(found[[0, 15, 30, 65]], [0.04, 0.52, 1.0, 0.500002], rtol=1e-5)
    np.testing.assert_allclose(found[100], 4e-6, rtol=0.02)


def test_one_cycle_settings():
    found = multipliers("one_cycle", rise=0.5, start=0.2, end=0.0)
    np.testing.assert_allclose(found[[0, 25, 50, 75, 100]], [0.2, 0.6, 1.0, 0.5, 0.0], atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_is_a_line_from_0_to_where_the_schedule_begins(name):
    found, begin = multipliers(name, warmup=10, **BLOCKS[name]), 0.04 if name == "one_cycle" else 1.0
    np.testing.assert_allclose(found[:11], begin * np.arange(11) / 10, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 10])
def test_it_never_leaves_0_to_the_peak_and_reaches_it(name, warmup):
    found = multipliers(name, warmup=warmup, **BLOCKS[name])
    assert found.min() >= 0.0
    np.testing.assert_allclose(found.max(), 1.0, atol=2e-3)  # one_cycle may peak between two steps


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
def test_a_single_update_has_a_rate(name):
    rate = schedule(learning_rate=0.5, steps=1, schedule={"name": name})
    np.testing.assert_allclose(rate(0), 0.5, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_step_may_be_traced_or_not(name):
    rate = schedule(learning_rate=0.5, steps=100, warmup=3, schedule={"name": name, **BLOCKS[name]})
    np.testing.assert_allclose(jax.jit(rate)(jnp.int32(17)), float(rate(17)), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 100, "warmup": -1}, "warmup = -1 steps"),
        ({"steps": 100, "warmup": 100}, "less than the 100 training steps"),
        ({"schedule": {"name": "cosin"}}, "^optim.schedule.name: unknown name 'cosin'; did you mean 'cosine'"),
        ({"schedule": {"name": "cosine", "finale": 0.1}}, "^optim.schedule.finale: no such key"),
        ({"schedule": {"name": "exponential", "period": 0}}, "^optim.schedule.period: 0 is not at least 1"),
        ({"schedule": {"name": "cosine", "final": 1.5}}, "^optim.schedule.final: 1.5 is not in 0.0 .. 1.0"),
        ({"schedule": {"name": "step"}}, "^optim.schedule.boundaries: missing"),
        ({"schedule": {"name": "step", "boundaries": (60, 30)}}, r"^optim.schedule.boundaries: \(60, 30\) must rise"),
        ({"schedule": {"name": "step", "boundaries": (30, 30)}}, "must rise"),
        ({"schedule": {"name": "step", "boundaries": (100,)}}, "before step 100, the end"),
        ({"schedule": {"name": "step", "boundaries": (5,)}, "warmup": 5}, "after the 5 steps of warm-up"),
        ({"schedule": {"name": "step", "boundaries": (5,), "factor": -0.1}}, "schedule.factor: -0.1 is not"),
        ({"schedule": {"name": "cyclic", "period": 0}}, "period = 0"),
        ({"schedule": {"name": "cyclic", "period": 1, "growth": 0.5}}, "growth = 0.5"),
        ({"schedule": {"name": "one_cycle", "rise": 1.0}}, "rise < 1.0"),
        ({"schedule": {"name": "one_cycle", "start": 0.0}}, "0.0 < start"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(UserError, match=message):
        schedule(**({"learning_rate": 1.0, "steps": 100} | settings))
