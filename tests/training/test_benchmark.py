"""What is timed, how often, and what compiled programs say of themselves."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.training import benchmark, parallel


def test_functions_take_turns_and_hand_on_the_state():
    order = {"one": lambda state: [*state, "one"], "two": lambda state: [*state, "two"]}
    seconds, state = benchmark.alternated(order, [], 3)
    assert state == ["one", "two"] * 4  # the first round is a warm-up
    assert {name: len(times) for name, times in seconds.items()} == {"one": 3, "two": 3}


def test_the_ratio_is_the_median_over_rounds():
    assert benchmark.ratio([1.0, 2.0, 4.0], [2.0, 2.0, 40.0]) == 2.0


def test_calls_within_a_time():
    calls, state = benchmark.calls_within(lambda n: time.sleep(0.005) or n + 1, 0, 0.1)
    assert 10 <= calls <= 20
    assert state > 2


def test_the_cost_of_a_product_of_matrices():
    devices = jax.local_devices()[:2]
    lowered = parallel.pmap(jnp.matmul, devices, in_axes=(0, 0), out_axes=0).lower(
        *np.zeros((2, 2, 16, 16), np.float32)
    )
    found = benchmark.cost(lowered, lowered.compile(), 2)
    np.testing.assert_allclose(found.flops, 2 * 2 * 16**3, rtol=1e-3)
    assert found.resident == 3 * 16 * 16 * 4
    assert found.bytes >= 2 * found.resident


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rates_are_those_of_some_machine(dtype, monkeypatch):
    monkeypatch.setattr(benchmark, "MATRIX", {"cpu": 64})
    monkeypatch.setattr(benchmark, "COPIED", 2**16)
    found = benchmark.rates(jax.local_devices()[:2], dtype, repeats=2)
    assert 1e5 < found.flops < 1e15
    assert 1e5 < found.bytes < 1e14
