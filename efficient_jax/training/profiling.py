"""Traces some steps of a stage with `jax.profiler`: what the devices and the host do, and when."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from efficient_jax.errors import UserError
from efficient_jax.types import Metrics, Tree

StepFunction = Callable[[Tree, int], tuple[Tree, Metrics]]
"""`step(state, i) -> (state, metrics)` does the step after i steps."""


def steps(text: str) -> range:
    """Returns the steps that `--profile=FIRST:COUNT` names, counted from 1 as in the log.

    Args:
        text: the value of the flag; "" names none.

    Raises: UserError for other text.
    """
    if not text:
        return range(0)
    match = re.fullmatch(r"0*([1-9]\d*):0*([1-9]\d*)", text, re.ASCII)
    if not match:
        raise UserError(
            f"--profile: {text!r} is not FIRST:COUNT; 10:5 traces steps 10 to 14 of every stage, counted from 1"
        )
    first, count = map(int, match.groups())
    return range(first, first + count)


def after_compiling(asked: range, done: int, last: int) -> range:
    """Returns the steps that can be traced: as many as asked, later where the first of them would compile.

    Args:
        asked: as from `steps`.
        done: steps that were done before; the next one compiles.
        last: steps of the stage.
    """
    first = max(asked.start, done + 2)
    return range(first, min(first + len(asked), last + 1))


@contextlib.contextmanager
def traced(step: StepFunction, numbers: range, folder: Path) -> Iterator[StepFunction]:
    """Yields a step function that writes a trace of some steps. It waits for the devices before and after these.

    Args:
        step: does one step.
        numbers: which steps, counted from 1; may be empty.
        folder: the trace is in its folder plugins/profile, where TensorBoard looks for it.
    """
    tracing = False

    def run(state: Tree, i: int) -> tuple[Tree, Metrics]:
        nonlocal tracing
        if i + 1 == numbers[0]:
            jax.block_until_ready(state)
            jax.profiler.start_trace(folder)
            tracing = True
        with jax.profiler.StepTraceAnnotation("train", step_num=i + 1):
            state, metrics = step(state, i)
        if tracing and i + 1 == numbers[-1]:
            jax.block_until_ready(state)
            tracing = False
            jax.profiler.stop_trace()
        return state, metrics

    try:
        yield run if numbers else step
    finally:
        if tracing:  # the stage was stopped
            jax.profiler.stop_trace()
