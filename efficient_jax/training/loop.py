"""The training loop: keeps the devices busy, checks that the loss is finite, logs and saves."""

import collections
import math
import time
from collections.abc import Callable

import jax
import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.training import parallel
from efficient_jax.training.stopping import Stopped
from efficient_jax.types import Metrics, Tree

Fetched = dict[str, tuple[np.ndarray, np.ndarray]]
"""Metrics of a step, on the host."""

IN_FLIGHT = 2
"""Steps that may wait on the devices. More gains nothing, and a free-running loop can hang on CPU."""


def run(
    step: Callable[[Tree, int], tuple[Tree, Metrics]],
    state: Tree,
    *,
    first: int,
    steps: int,
    log_every: int,
    save_every: int,
    images_per_step: int,
    log: Callable[[int, dict[str, float]], None],
    save: Callable[[int, Tree], None],
    stop: Callable[[], bool],
    where: str,
) -> Tree:
    """Trains until the last step and returns the state.

    Args:
        step: `step(state, i) -> (state, metrics)` does the step after i steps; metrics are name -> (sum, count).
        state: after `first` steps.
        first: steps that are done already.
        steps: steps of the stage, those included.
        log_every: steps between two calls of `log`; the last step and every `save_every`-th are logged too.
        save_every: steps between two calls of `save`; the last step is saved too.
        images_per_step: images of a step, for the metric "images_per_second".
        log: `log(i, metrics)` gets the mean of every metric over the steps since its last call.
        save: `save(i, state)` gets the state after i steps, when it and all losses before it are known to be finite.
        stop: asked after every step; once it is True, the step is saved and training ends.
        where: what an error names.

    Returns: the state after `steps` steps.

    Raises: UserError naming `where` and the step when loss or state are not finite; saved checkpoints stay as they are.
        Stopped, where `stop` is True.
    """
    in_flight: collections.deque[tuple[int, Metrics]] = collections.deque()
    unlogged: list[Metrics] = []
    clock = time.perf_counter()

    def checked(number: int) -> list[Fetched]:
        """Returns the metrics that are not logged yet, fetched together: no step between waits for a transfer."""
        values: list[Fetched] = jax.device_get(unlogged)
        for step_number, step_metrics in enumerate(values, number - len(values) + 1):
            if not math.isfinite(step_metrics["loss"][0]):
                raise UserError(_diverged(where, step_number, f"the loss is {step_metrics['loss'][0]}"))
        return values

    def finish(number: int, metrics: Metrics) -> None:
        """Waits for one step. Later ones keep the devices busy meanwhile, so that logging costs no time."""
        nonlocal clock, unlogged
        jax.block_until_ready(metrics)
        unlogged.append(metrics)
        if number % log_every == 0 or number % save_every == 0 or number == steps:
            now = time.perf_counter()
            values = checked(number)
            sums = {name: [sum(m[name][k].item() for m in values) for k in (0, 1)] for name in metrics}
            means = {name: total / max(count, 1e-12) for name, (total, count) in sums.items()}
            log(number, means | {"images_per_second": len(unlogged) * images_per_step / (now - clock)})
            clock, unlogged = now, []

    for i in range(first, steps):
        state, metrics = step(state, i)
        if i == first:
            clock = time.perf_counter()  # the first step compiles, which is no training time
        in_flight.append((i + 1, metrics))
        stopped = stop()
        at_save = (i + 1) % save_every == 0 or i + 1 == steps or stopped
        while len(in_flight) > (0 if at_save else IN_FLIGHT):
            finish(*in_flight.popleft())
        if at_save:
            checked(i + 1)
            # The loss belongs to the weights before the step: those after it may not be finite.
            if not all(np.isfinite(array).all() for array in parallel.held(state)):
                raise UserError(_diverged(where, i + 1, "the weights are not finite"))
            save(i + 1, state)
            if stopped:
                raise Stopped(f"{where}: stopped after step {i + 1} of {steps}")
            clock = time.perf_counter()  # saving is no training time
    return state


def _diverged(where: str, step_number: int, what: str) -> str:
    return (
        f"{where}: {what} in step {step_number}; the last checkpoint is kept. "
        "Lower optim.learning_rate, lengthen optim.warmup, or look at the method's settings"
    )
