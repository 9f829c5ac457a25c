"""How fast programs are, one beside the other, and what the devices could do at best."""

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
    """What all devices reach together."""

    flops: float  # multiplications and additions a second, in products of matrices
    bytes: float  # read and written a second, in copies


class Cost(NamedTuple):
    """Of a compiled program, on all devices."""

    flops: float
    bytes: float  # read and written
    resident: int  # bytes a device holds: what the program is given and gives
    temporary: int  # bytes a device needs beside


def cost(lowered: Any, compiled: Any, devices: int) -> Cost:
    """Operations are those of the program as written: XLA's own kernels do not say theirs."""
    memory = compiled.memory_analysis()
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    moved = compiled.cost_analysis()["bytes accessed"]
    return Cost(devices * lowered.cost_analysis()["flops"], devices * moved, kept, memory.temp_size_in_bytes)


def alternated(
    functions: Mapping[str, Callable[[Tree], Tree]], state: Tree, repeats: int
) -> tuple[dict[str, list[float]], Tree]:
    """Seconds of each function in every round, the first not counted, and the state that all of them handed on."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            state = jax.block_until_ready(function(state))
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds, state


def calls_within(function: Callable[[Tree], Tree], state: Tree, seconds: float) -> tuple[int, Tree]:
    """How many calls of a function that compiles in its first take so long, and the last state."""
    state = jax.block_until_ready(function(state))
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            state = function(state)
        jax.block_until_ready(state)
        taken = time.perf_counter() - start
        if taken > seconds / 10:
            return max(1, round(calls * seconds / taken)), state
        calls *= 2


def rates(devices: Sequence[jax.Device], dtype: str, repeats: int = 7) -> Rates:
    """The best of several tries, all devices at once."""
    n = MATRIX.get(jax.default_backend(), 8192)
    matrices = jnp.full((len(devices), n, n), 1 / n, dtype)
    product = parallel.pmap(lambda x: x @ x, devices, in_axes=(0,), out_axes=0)
    values = jnp.zeros((len(devices), COPIED // 4), np.float32)
    copy = parallel.pmap(lambda x: x + 1, devices, in_axes=(0,), out_axes=0)
    best = []
    for function, given in ((product, matrices), (copy, values)):
        seconds, _ = alternated({"": function}, jax.block_until_ready(function(given)), repeats)
        best.append(min(seconds[""]))
    return Rates(len(devices) * 2 * n**3 / best[0], len(devices) * 2 * COPIED / best[1])


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median over rounds of `other` to `one`."""
    return statistics.median(b / a for a, b in zip(one, other, strict=True))
