"""What the loop logs, when it saves, and that it stops when the loss does."""

import time

import jax
import jax.numpy as jnp
import pytest

from efficient_jax.errors import UserError
from efficient_jax.training import loop
from efficient_jax.training.stopping import Stopped
from tests.training.problem import make


def run(first: int = 0, steps: int = 7, stop=lambda _: False) -> tuple[int, list, list]:
    """A state that counts steps; the loss of update i (from 1) is i."""
    logged, saved, done = [], [], []

    def step(state, i):
        done.append(i)
        return state + 1, {"loss": (jnp.float32(2 * (i + 1)), jnp.float32(2))}

    state = loop.run(
        step,
        first,
        first=first,
        steps=steps,
        log_every=2,
        save_every=3,
        images_per_step=8,
        log=lambda i, values: logged.append((i, values["loss"])),
        save=lambda i, state: saved.append((i, state)),
        stop=lambda: stop(done),
        where="stage 's'",
    )
    return state, logged, saved


def test_logs_the_mean_since_the_last_log():
    assert run()[1] == [(2, 1.5), (3, 3.0), (4, 4.0), (6, 5.5), (7, 7.0)]


def test_saves_on_time_and_at_the_end():
    assert run()[2] == [(3, 3), (6, 6), (7, 7)]


def test_carries_on_after_the_updates_that_are_done():
    state, logged, saved = run(first=6)
    assert (state, logged, saved) == (7, [(7, 7.0)], [(7, 7)])


def test_asked_to_stop_it_saves_after_the_step_under_way():
    with pytest.raises(Stopped, match=r"stage 's': stopped after step 4 of 7"):
        run(stop=lambda done: len(done) == 4)
    with pytest.raises(Stopped, match=r"stage 's': stopped after step 7 of 7"):
        run(stop=lambda done: len(done) == 7)


def test_nothing_to_do_leaves_the_state():
    assert run(first=7) == (7, [], [])


def test_a_loss_that_is_not_finite_stops_and_is_not_saved():
    saved = []

    def step(state, i):
        return state, {"loss": (jnp.float32("nan") if i == 4 else jnp.float32(1), jnp.float32(1))}

    with pytest.raises(UserError, match=r"stage 's': the loss is nan in step 5"):
        loop.run(
            step,
            0,
            first=0,
            steps=9,
            log_every=2,
            save_every=3,
            images_per_step=1,
            log=lambda *_: None,
            save=lambda i, _: saved.append(i),
            stop=lambda: False,
            where="stage 's'",
        )
    assert saved == [3]


@pytest.mark.parametrize("runs", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_600_pmapped_steps_on_two_devices_finish(runs):
    """A free-running pmap loop hangs on CPU (training/parallel.py); XLA then ends the process after 40 seconds."""
    problem = make(2)
    for _ in range(runs):
        state = loop.run(
            problem.update,
            jax.tree.map(jnp.copy, problem.state),  # the first step donates it
            first=0,
            steps=600,
            log_every=100,
            save_every=600,
            images_per_step=1,
            log=lambda *_: None,
            save=lambda *_: None,
            stop=lambda: False,
            where="",
        )
        assert state["step"] == 600


@pytest.mark.parametrize("first", [0, 40])
def test_images_per_second_do_not_count_what_the_first_step_compiles(first):
    logged = []

    def step(state, i):
        time.sleep(0.5 if i == first else 0.005)
        return state, {"loss": (jnp.float32(1), jnp.float32(1))}

    loop.run(
        step,
        0,
        first=first,
        steps=first + 4,
        log_every=2,
        save_every=4,
        images_per_step=8,
        log=lambda _, values: logged.append(values["images_per_second"]),
        save=lambda *_: None,
        stop=lambda: False,
        where="",
    )
    assert logged[0] > 2 * 8 / 0.4
