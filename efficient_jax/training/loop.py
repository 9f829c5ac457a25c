"""The loop over updates: keeps the devices busy, watches the loss, logs and saves."""

import collections
import math
import time
from collections.abc import Callable

import jax
import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.training.stopping import Stopped
from efficient_jax.types import Tree

IN_FLIGHT = 2
"""Steps that may wait on the devices. More gains nothing, and a free-running loop can hang on CPU."""


def run(
    step: Callable[[Tree, int], tuple[Tree, dict]],
    state: Tree,
    *,
    first: int,
    updates: int,
    log_every: int,
    save_every: int,
    images_per_update: int,
    log: Callable[[int, dict[str, float]], None],
    save: Callable[[int, Tree], None],
    stop: Callable[[], bool],
    where: str,
) -> Tree:
    """State after `updates` updates, `first` of which are done already.

    `step(state, i)` does update i; `log(i, metrics)` gets the mean metrics of the updates since the last log;
    `save(i, state)` comes after the losses of all updates before it and the state itself were seen to be finite; once
    `stop()` it comes after the update under way, and is the last thing done.

    Raises: UserError naming `where` and the update when loss or state are not finite; what was saved is untouched.
    Stopped, where it was asked to stop.
    """
    in_flight: collections.deque[tuple[int, dict]] = collections.deque()
    unlogged: list[dict] = []
    clock = time.perf_counter()

    def checked(number: int) -> list[dict]:
        """What is not logged yet. Together: nothing leaves the devices in the updates between."""
        values = jax.device_get(unlogged)
        for at, of_update in enumerate(values, number - len(values) + 1):
            if not math.isfinite(of_update["loss"][0]):
                raise UserError(_diverged(where, at, f"the loss is {of_update['loss'][0]}"))
        return values

    def finish(number: int, metrics: dict) -> None:
        """Waits for one update. Later ones keep the devices busy meanwhile, so logging costs them nothing."""
        nonlocal clock, unlogged
        jax.block_until_ready(metrics)
        unlogged.append(metrics)
        if number % log_every == 0 or number % save_every == 0 or number == updates:
            now = time.perf_counter()
            values = checked(number)
            sums = {name: [sum(m[name][k].item() for m in values) for k in (0, 1)] for name in metrics}
            means = {name: total / max(count, 1e-12) for name, (total, count) in sums.items()}
            log(number, means | {"images_per_second": len(unlogged) * images_per_update / (now - clock)})
            clock, unlogged = now, []

    for i in range(first, updates):
        state, metrics = step(state, i)
        if i == first:
            clock = time.perf_counter()  # it was compiled, which is not training
        in_flight.append((i + 1, metrics))
        stopped = stop()
        at_save = (i + 1) % save_every == 0 or i + 1 == updates or stopped
        while len(in_flight) > (0 if at_save else IN_FLIGHT):
            finish(*in_flight.popleft())
        if at_save:
            checked(i + 1)
            # The loss is that of the weights before the update: those after it may be lost already.
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(state))):
                raise UserError(_diverged(where, i + 1, "the weights are not finite"))
            save(i + 1, state)
            if stopped:
                raise Stopped(f"{where}: stopped after update {i + 1} of {updates}")
            clock = time.perf_counter()  # saving is not training
    return state


def _diverged(where: str, update: int, what: str) -> str:
    return (
        f"{where}: {what} in update {update}; the last checkpoint is kept. "
        "Lower optim.learning_rate, lengthen optim.warmup, or look at the method's settings"
    )
