"""Ctrl-C and SIGTERM while training: what is done is saved before the end."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Stopped(Exception):
    """Training was asked to stop, and did after a checkpoint."""


@contextlib.contextmanager
def deferred(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Within, the first SIGINT or SIGTERM only makes what is yielded return True; the second interrupts as ever.

    Only the main thread hears signals: in any other nothing changes.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("stopping after this update, with a checkpoint; once more stops at once")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    heard = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]  # as whoever began it
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
