"""Measures the speed of compiled programs, alternating between them, and the peak rates of the devices."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax.training import parallel
from efficient_jax.types import Tree

COPIED = 2**26  # bytes that a device copies at a time
MATRIX = {"cpu": 1536}  # rows of the matrices that are multiplied; elsewhere 8192


class Rates(NamedTuple):
    """The highest rates that all devices reach together."""

    flops: float  # multiplications and additions a second, in products of matrices
    bytes: float  # read and written a second, in copies


class Cost(NamedTuple):
    """The cost of a compiled program, on all devices."""

    flops: float
    bytes: float  # read and written
    resident: int  # bytes on each device: arguments and results of the program
    temporary: int  # more bytes on each device while it runs


def cost(lowered: Any, compiled: Any, devices: int) -> Cost:
    """Returns the cost of a program by XLA's analysis.

    Operations are counted before compilation: XLA's own kernels do not report theirs.

    Args:
        lowered: the program, as from `jax.stages.Wrapped.lower`.
        compiled: the same, compiled.
        devices: number of devices.
    """
    memory = compiled.memory_analysis()
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    moved = compiled.cost_analysis()["bytes accessed"]
    return Cost(devices * lowered.cost_analysis()["flops"], devices * moved, kept, memory.temp_size_in_bytes)


def alternated(
    functions: Mapping[str, Callable[[Tree], Tree]], state: Tree, repeats: int
) -> tuple[dict[str, list[float]], Tree]:
    """Measures functions one after the other in every round, so that all see the same load of the machine.

    Args:
        functions: name -> function of a state that returns the next one.
        state: the first state; every function gets the one that the function before it returned.
        repeats: rounds that count; one more before them does not.

    Returns: (name -> seconds in each round, the last state).
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            state = jax.block_until_ready(function(state))
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds, state


def calls_within(function: Callable[[Tree], Tree], state: Tree, seconds: float) -> tuple[int, Tree]:
    """Returns how many calls of a function take some seconds.

    Args:
        function: of a state, returns the next one; its first call, which compiles, is not measured.
        state: the first state.
        seconds: how long the calls shall take.

    Returns: (number of calls, 1 or more; the last state).
    """
    state = jax.block_until_ready(function(state))
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            state = function(state)
        jax.block_until_ready(state)
        elapsed = time.perf_counter() - start
        if elapsed > seconds / 10:
            return max(1, round(calls * seconds / elapsed)), state
        calls *= 2


def rates(devices: Sequence[jax.Device], dtype: str, repeats: int = 7) -> Rates:
    """Measures the highest rates of matrix products and of copies, on all devices at once.

    Args:
        devices: the devices.
        dtype: of the matrices, such as "float32" or "bfloat16".
        repeats: measurements, of which the best counts.
    """
    n = MATRIX.get(jax.default_backend(), 8192)
    matrices = jnp.full((len(devices), n, n), 1 / n, dtype)
    product = parallel.pmap(lambda x: x @ x, devices, in_axes=(0,), out_axes=0)
    values = jnp.zeros((len(devices), COPIED // 4), np.float32)
    copy = parallel.pmap(lambda x: x + 1, devices, in_axes=(0,), out_axes=0)
    best = []
    for function, argument in ((product, matrices), (copy, values)):
        first = jax.block_until_ready(function(argument))
        seconds, _ = alternated({"": function}, first, repeats)
        best.append(min(seconds[""]))
    return Rates(len(devices) * 2 * n**3 / best[0], len(devices) * 2 * COPIED / best[1])


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Returns the median over rounds of the ratio of two measurements.

    Args:
        one: seconds in each round, the denominators.
        other: seconds in the same rounds, the numerators.
    """
    return statistics.median(b / a for a, b in zip(one, other, strict=True))
