"""The loop over updates: keeps the devices busy, watches the loss, logs and saves."""

import collections
import math
import time
from collections.abc import Callable

import jax
import numpy as np

from efficient_jax.types import Tree, UserError

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
    where: str,
) -> Tree:
    """State after `updates` updates, `first` of which are done already.

    `step(state, i)` does update i; `log(i, metrics)` gets the mean metrics of the updates since the last log;
    `save(i, state)` comes after the losses of all updates before it and the state itself were seen to be finite.

    Raises: UserError naming `where` and the update when loss or state are not finite; what was saved is untouched.
    """
    running: collections.deque = collections.deque()
    unlogged: list[tuple[int, dict]] = []
    clock, logged = time.perf_counter(), first

    def flush(i: int) -> None:
        nonlocal clock, logged, unlogged
        history = jax.device_get(unlogged)
        for number, metrics in history:
            if not math.isfinite(metrics["loss"][0]):
                raise UserError(_diverged(where, number, f"the loss is {metrics['loss'][0]}"))
        now = time.perf_counter()
        sums = {name: [sum(m[name][k].item() for _, m in history) for k in (0, 1)] for name in history[-1][1]}
        means = {name: total / max(count, 1e-12) for name, (total, count) in sums.items()}
        log(i, means | {"images_per_second": (i - logged) * images_per_update / (now - clock)})
        clock, logged, unlogged = now, i, []

    for i in range(first, updates):
        state, metrics = step(state, i)
        running.append(metrics)
        unlogged.append((i + 1, metrics))
        if len(running) > IN_FLIGHT:
            jax.block_until_ready(running.popleft())
        at_save = (i + 1) % save_every == 0 or i + 1 == updates
        if at_save or (i + 1) % log_every == 0:
            flush(i + 1)
        if at_save:
            # The loss is that of the weights before the update: those after it may be lost already.
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(state))):
                raise UserError(_diverged(where, i + 1, "the weights are not finite"))
            save(i + 1, state)
            clock = time.perf_counter()  # saving is not training
    return state


def _diverged(where: str, update: int, what: str) -> str:
    return f"{where}: {what} in update {update}; the last checkpoint is kept. Lower optim.learning_rate or optim.clip"
