"""Do several steps in one call pay, where a step is shorter than its dispatch?

    python -m tests.benchmarks.scanned

The step of the quickstart's teacher, and that of a network so small that dispatch is most of it, by themselves and
eight in a `lax.scan`: alternating, median of nine rounds.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("NPROC", "16")  # as launch.py

import jax
from rich.console import Console

from configs import quickstart
from efficient_jax.commands.bench import programs
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.run import Run
from efficient_jax.training import benchmark, parallel
from efficient_jax.types import Tree
from tests.training import problem

TOGETHER, ROUNDS, SECONDS = 8, 9, 1.0


def compare(name: str, step: Callable, arguments: Callable[[Tree], tuple], state: Tree, devices: list) -> None:
    def several(state: Tree, *rest: Tree) -> tuple[Tree, None]:
        return jax.lax.scan(lambda state, _: (step.__wrapped__(state, *rest)[0], None), state, length=TOGETHER)

    axes = (None, None, None, None, 0)
    together = parallel.pmap(several, devices, in_axes=axes, out_axes=None, donate=(0,))
    calls, state = benchmark.calls_within(lambda state: step(*arguments(state))[0], state, SECONDS)

    def repeated(function: Callable, times: int) -> Callable[[Tree], Tree]:
        def repeat(state: Tree) -> Tree:
            for _ in range(times):
                state = function(*arguments(state))[0]
            return state

        return repeat

    rounds = -(-calls // TOGETHER)
    functions = {"one": repeated(step, rounds * TOGETHER), "together": repeated(together, rounds)}
    seconds, _ = benchmark.alternated(functions, state, ROUNDS)
    each = 1000 * min(seconds["one"]) / (rounds * TOGETHER)
    print(
        f"{name}: {each:.2f} ms a step; speed in scans of {TOGETHER}: "
        f"{benchmark.ratio(seconds['together'], seconds['one']):.3f}",
        flush=True,
    )


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    tiny = problem.make(2)
    compare("tiny", tiny.step, lambda state: tiny.arguments(state, 0), tiny.state, tiny.devices)
    config = quickstart.get_config()
    config.stages = ("augmented",)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(plan(config.to_dict()), Path(folder), Console(quiet=True))
        whole = programs(run.plan.stages[0], run).whole
    given = next(whole.given(0, 1))
    compare("quickstart", whole.step, lambda state: whole.arguments(state, given), whole.state, list(run.data.devices))


if __name__ == "__main__":
    main()
