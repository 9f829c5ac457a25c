"""Shows the progress of a stage: a live bar on a terminal, plain lines elsewhere."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY = 10.0  # seconds between plain lines


class StageProgress:
    """Shows how far a stage is; a context manager. The remaining time is estimated without compilation."""

    def __init__(self, console: Console, name: str, *, first: int, steps: int) -> None:
        self._console, self._name, self._steps, self._first = console, name, steps, first
        self._shown = time.perf_counter()
        self._started: float | None = None  # when the first step was done, later by the time within `apart`
        self._line = (0.0, first)  # time of the last line, likewise, and the steps that were done then
        self._bar = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(bar_width=16),  # so that a line fits in 80 columns
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=steps, completed=first, status="compiling")

        self._compiled = threading.Event()
        self._waiting = threading.Thread(target=self._show_compiling, daemon=True)  # XLA leaves other threads running

    def __enter__(self) -> "StageProgress":
        self._bar.start()
        self._waiting.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._compiled.set()
        self._waiting.join()
        self._bar.stop()

    def _show_compiling(self) -> None:
        """Shows for how long the step has been compiling, until it is compiled."""
        started, terminal = time.perf_counter(), self._console.is_terminal
        while not self._compiled.wait(1.0 if terminal else LINE_EVERY):
            status = f"compiling, {time.perf_counter() - started:.0f} s"
            self._bar.update(self._task, status=status)
            if not terminal:
                self._console.print(f"{self._name}: {status}")

    def compiled(self) -> None:
        """Says that the step is compiled: the time counts from the first call on. Later calls change nothing."""
        if self._started is None:
            self._started = time.perf_counter()
            self._line = (self._started, self._first)
        self._compiled.set()

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Within, the time does not count: for work that comes once, such as a first validation that compiles."""
        begun = time.perf_counter()
        yield
        if self._started:
            passed = time.perf_counter() - begun
            self._started += passed
            self._line = (self._line[0] + passed, self._line[1])

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the bar after a step; without a terminal a line, but no more than one in 10 seconds.

        Args:
            step: number of steps that are done.
            values: metrics; "images_per_second" and "loss" are shown.
        """
        status = f"{values['images_per_second']:,.0f} images/s  loss {values['loss']:.3f}"
        self._bar.update(self._task, completed=step, status=status)
        now = time.perf_counter()
        if not self._console.is_terminal and (now - self._shown > LINE_EVERY or step == self._steps):
            # Since the last line, where that is faster: whatever slowed the first steps down is over.
            begins = (self._started or now, self._first), self._line
            left = min((now - begun) / max(step - done, 1) for begun, done in begins) * (self._steps - step)
            self._console.print(f"{self._name}: step {step}/{self._steps}, {status}, {left:.0f} s left")
            self._shown, self._line = now, (now, step)
