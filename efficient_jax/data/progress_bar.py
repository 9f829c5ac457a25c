"""How far it is, for what may take long."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
AFTER = 2.0  # seconds without a word
LINE_EVERY = 10.0  # seconds, where no bar can be drawn


def watched(parts: Iterable[T], what: str, each: int, total: int) -> Iterator[T]:
    """`parts`, of `each` of the `total` things, with a bar on a terminal and plain lines elsewhere."""
    console = get_console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(what, total=total)
    started = said = time.perf_counter()
    try:
        for number, part in enumerate(parts, 1):
            yield part
            now, done = time.perf_counter(), min(number * each, total)
            if console.is_terminal and now - started > AFTER:
                bar.start()
            bar.update(task, completed=done)
            if not console.is_terminal and now - said > LINE_EVERY:
                console.print(f"{what}: {done:,} of {total:,}", markup=False, highlight=False)
                said = now
    finally:
        if console.is_terminal:
            bar.stop()
