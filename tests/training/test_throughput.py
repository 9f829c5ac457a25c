"""How much of the compiled step's speed is left in training: printed, not asserted."""

import json
import time

import jax
import numpy as np
import pytest
from rich.console import Console

from configs import quickstart
from efficient_jax import experiment, members, models, preparation, records
from efficient_jax.plan import plan
from efficient_jax.supervision import supervise
from efficient_jax.training import loop
from efficient_jax.training.progress import StageProgress

UPDATES, REPEATS = 50, 7


@pytest.mark.bench
def test_training_against_the_bare_step(tmp_path, capsys):
    """The quickstart's teacher: the loop with its feed, log and progress, against calls of the compiled step on
    indices that lie on the devices already; alternating, median of 7 pairs."""
    jax.config.update("jax_disable_most_optimizations", False)  # unlike in other tests
    config = quickstart.get_config()
    config.update({"devices": 2, "stages": ("augmented",)})
    console = Console(quiet=True)
    checked = plan(config.to_dict())
    run = preparation.prepare(checked, tmp_path, console)
    (stage,) = run.stages
    description = preparation.description_of(stage, run)
    module, _ = members.build(description)
    variables = models.init(module, jax.random.key(0), (28, 28, 1))
    each = experiment.updates(stage, run, supervise(stage, run), description, variables)
    placed = next(each.given(0))
    log = records.MetricsLog(tmp_path, 0)

    def bare(state):
        for _ in range(UPDATES):
            state, _ = each.update(state, placed)
        return jax.block_until_ready(state)

    def train(state):
        with StageProgress(console, "stage", first=0, updates=UPDATES) as progress:

            def on_log(i, values):
                log.write(i, values)
                progress.show(i, values)

            given = each.given(0)
            state = loop.run(
                lambda state, _: each.update(state, next(given)),
                state,
                first=0,
                updates=UPDATES,
                log_every=stage.log_every,
                save_every=UPDATES + 1,
                images_per_update=64,
                log=on_log,
                save=lambda *_: None,
                where="",
            )
        return jax.block_until_ready(state)

    state = train(bare(each.state))
    seconds = {bare: [], train: []}
    for _ in range(REPEATS):
        for function, times in seconds.items():
            start = time.perf_counter()
            state = function(state)
            times.append(time.perf_counter() - start)
    log.__exit__()
    ratio = np.median(np.array(seconds[bare]) / np.array(seconds[train]))
    rates = {f.__name__: round(UPDATES * 64 / np.median(times)) for f, times in seconds.items()}
    with capsys.disabled():
        print(f"\nimages/s {json.dumps(rates)}; train / bare step {ratio:.3f}")
    assert state["step"] == 2 * UPDATES * (REPEATS + 1)
