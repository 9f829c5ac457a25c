"""A progress bar for work that may take long, and the elapsed time of work whose length is not known."""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from efficient_jax.distributed import console, log

T = TypeVar("T")
AFTER = 2.0  # seconds before the bar appears
LINE_EVERY = 10.0  # seconds between lines where there is no terminal


def watched(parts: Iterable[T], what: str, each: int, total: int) -> Iterator[T]:
    """Yields `parts`, with a progress bar on a terminal and plain lines elsewhere.

    Args:
        parts: of the work, in order; each is yielded as it is.
        what: title of the bar.
        each: items in a part; the last may have fewer.
        total: items in all parts.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    shown = console()
    bar = Progress(*columns, console=shown, transient=True)
    task = bar.add_task(what, total=total)
    started = printed = time.perf_counter()
    try:
        for number, part in enumerate(parts, 1):
            yield part
            now, done = time.perf_counter(), min(number * each, total)
            if shown.is_terminal and now - started > AFTER:
                bar.start()
            bar.update(task, completed=done)
            if not shown.is_terminal and now - printed > LINE_EVERY:
                log(f"{what}: {done:,} of {total:,}")
                printed = now
    finally:
        if shown.is_terminal:
            bar.stop()


@contextlib.contextmanager
def waiting(what: str, on: Console | None = None) -> Iterator[None]:
    """Within, shows the elapsed time of work that cannot say how far it is: a spinner, or a line every 10 seconds.

    Args:
        what: what is being done, such as "student: compiling".
        on: where it is shown; None: the console of the process.
    """
    shown, done, started = on or console(), threading.Event(), time.perf_counter()

    def show() -> None:
        if not shown.is_terminal:
            while not done.wait(LINE_EVERY):
                seconds = time.perf_counter() - started
                shown.print(f"{what}, {seconds:.0f} s", markup=False, highlight=False, soft_wrap=True)
        elif not done.wait(AFTER):
            with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=shown, transient=True) as bar:
                task = bar.add_task("", total=None)
                while not done.wait(0.2):
                    bar.update(task, description=f"{what}, {time.perf_counter() - started:.0f} s")

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
