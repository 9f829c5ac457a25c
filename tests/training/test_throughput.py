"""How much of the compiled step's speed is left in training: printed, not asserted."""

import json
import time

import jax
import numpy as np
import pytest
from rich.console import Console

from configs import few_labels, quickstart, semi_supervised
from efficient_jax import experiment, losses, members, models, optim, preparation, records
from efficient_jax.plan import plan
from efficient_jax.supervision import supervise
from efficient_jax.training import loop, parallel
from efficient_jax.training.progress import StageProgress

UPDATES, REPEATS = 200, 9


def ratio(seconds: dict) -> float:
    """The median, over pairs, of the second's time to the first's."""
    one, other = map(np.array, seconds.values())
    return float(np.median(other / one))


def small_network() -> dict:
    config = semi_supervised.get_config()
    config.stages = ("fixmatch",)
    return config.to_dict()


def large_network() -> dict:
    config = few_labels.get_config()
    config.data = {"source": {"name": "synthetic", "classes": 10, "size": 96, "images": 400}, "test": 100}
    config.data.labels_per_class = 20
    config.stages = ("fixmatch",)
    config.fixmatch.init = ""
    return config.to_dict()


@pytest.mark.bench
@pytest.mark.parametrize(("config", "calls"), [(small_network, 20), (large_network, 1)])
def test_fixmatch_against_the_bare_forward_and_backward(config, calls, tmp_path, capsys):
    """The whole step, with its augmentation, optimizer and average, against the gradient of a cross-entropy of the same
    images, labelled, weak and strong, in one program."""
    jax.config.update("jax_disable_most_optimizations", False)  # unlike in other tests
    run = preparation.prepare(plan(config() | {"devices": 2}), tmp_path, Console(quiet=True))
    (stage,) = run.stages
    description = preparation.description_of(stage, run)
    module, _ = members.build(description)
    variables = models.init(module, jax.random.key(0), preparation.input_shape(description))
    each = experiment.updates(stage, run, supervise(stage, run), description, variables)
    given = next(each.given(0))
    still = optim.frozen(variables["params"], stage.optim["rules"])
    _, apply = members.build(description, stage.norm_axis or None, still)
    count = (stage.batch["labelled"] + 2 * stage.batch["unlabelled"]) // 2

    def gradient(variables, images):
        def loss(params):
            trained = jax.tree.map(lambda p, f: jax.lax.stop_gradient(p) if f else p, params, still)
            keys = jax.random.split(jax.random.key(0), len(images))
            (logits, _), _ = apply(variables | {"params": trained}, images, True, keys)
            return losses.cross_entropy(logits, jax.nn.one_hot(np.zeros(count, int), logits.shape[-1])).sum()

        grads = jax.lax.psum(jax.grad(loss)(variables["params"]), parallel.AXIS)
        # The next call waits for this one, as a step does: collectives of two in flight may block each other on CPU.
        return variables | {"params": jax.tree.map(lambda p, g: p - 1e-9 * g, variables["params"], grads)}

    compiled = parallel.pmap(gradient, run.devices, in_axes=(None, 0), out_axes=None)
    seen = parallel.replicate(variables, run.devices)
    rows = np.arange(2 * count) % len(run.source.images)
    images = parallel.shared_by(run.source.images.__getitem__, rows, run.devices)
    state = each.state

    def bare():
        nonlocal seen
        for _ in range(calls):
            seen = compiled(seen, images)
        jax.block_until_ready(seen)

    def whole():
        nonlocal state
        for _ in range(calls):
            state, _ = each.update(state, given)
        jax.block_until_ready(state)

    seconds = {bare: [], whole: []}
    for repeat in range(REPEATS + 1):
        for function, times in seconds.items():
            start = time.perf_counter()
            function()
            if repeat:  # the first compiles
                times.append(time.perf_counter() - start)
    rates = {f.__name__: round(calls * 2 * count / np.median(times)) for f, times in seconds.items()}
    with capsys.disabled():
        print(f"\n{config.__name__}: images/s {json.dumps(rates)}; step / bare {ratio(seconds):.3f}")
    assert state["step"] == calls * (REPEATS + 1)


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

    def bare(state):
        for _ in range(UPDATES):
            state, _ = each.update(state, placed)
        return jax.block_until_ready(state)

    def train(state):
        with (
            records.metrics_log(tmp_path, 0) as log,
            StageProgress(console, "stage", first=0, updates=UPDATES) as progress,
        ):

            def on_log(i, values):
                log(i, values)
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
                stop=lambda: False,
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
    rates = {f.__name__: round(UPDATES * 64 / np.median(times)) for f, times in seconds.items()}
    with capsys.disabled():
        print(f"\nimages/s {json.dumps(rates)}; train / bare step {1 / ratio(seconds):.3f}")
    assert state["step"] == 2 * UPDATES * (REPEATS + 1)
