"""How far a stage is, and how long the rest takes."""

import io
import time

import pytest
from rich.console import Console

from efficient_jax.training import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that only `passes` moves."""

    class Clock:
        now = 1000.0

        def passes(self, seconds):
            self.now += seconds

    found = Clock()
    monkeypatch.setattr(progress.time, "perf_counter", lambda: found.now)
    return found


def test_the_time_left_does_not_count_what_was_compiled(clock):
    """300 s for the step, then 0.1 s each; a validation that compiles once is left out, one that does not counts."""
    out = io.StringIO()
    with progress.StageProgress(Console(file=out, width=200), "s", first=0, steps=200) as shown:
        clock.passes(300.0)
        shown.compiled()
        clock.passes(5.0)
        shown.show(50, {"images_per_second": 640.0, "loss": 1.0})
        shown.compiled()
        clock.passes(5.0)
        with shown.apart():
            clock.passes(60.0)
        shown.show(100, {"images_per_second": 640.0, "loss": 1.0})
        clock.passes(5.0)
        clock.passes(30.0)  # another validation
        shown.show(150, {"images_per_second": 640.0, "loss": 1.0})
    lines = [line.rpartition(", ")[2] for line in out.getvalue().splitlines()]
    assert lines == ["15 s left", "10 s left", "15 s left"]


def test_slow_first_steps_do_not_count_for_ever(clock):
    """20 steps of 16 s, then 1 s each: the second line says what the rest takes."""
    out = io.StringIO()
    with progress.StageProgress(Console(file=out, width=200), "s", first=0, steps=100) as shown:
        shown.compiled()
        clock.passes(320.0)
        shown.show(20, {"images_per_second": 2.0, "loss": 1.0})
        clock.passes(20.0)
        shown.show(40, {"images_per_second": 32.0, "loss": 1.0})
    assert out.getvalue().splitlines()[-1].endswith(", 60 s left")


def test_compilation_shows_the_elapsed_time(monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.01)
    out = io.StringIO()
    with progress.StageProgress(Console(file=out, width=200), "s", first=0, steps=200) as shown:
        while out.getvalue().count("\n") < 2:
            time.sleep(0.001)
        shown.compiled()
    assert set(out.getvalue().splitlines()) == {"s: compiling, 0 s"}
