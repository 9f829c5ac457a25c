"""A progress bar for work that may take long."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
    bar = Progress(*columns, console=console(), transient=True)
    task = bar.add_task(what, total=total)
    started = printed = time.perf_counter()
    try:
        for number, part in enumerate(parts, 1):
            yield part
            now, done = time.perf_counter(), min(number * each, total)
            if console().is_terminal and now - started > AFTER:
                bar.start()
            bar.update(task, completed=done)
            if not console().is_terminal and now - printed > LINE_EVERY:
                log(f"{what}: {done:,} of {total:,}")
                printed = now
    finally:
        if console().is_terminal:
            bar.stop()
