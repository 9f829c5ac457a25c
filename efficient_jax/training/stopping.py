"""Ctrl-C and SIGTERM while training: what is done is saved before the end."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from efficient_jax import processes


class Stopped(Exception):
    """Training was asked to stop, and did after a checkpoint."""


@contextlib.contextmanager
def deferred(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Within, the first SIGINT or SIGTERM only makes what is yielded return True, which is asked after each update; the
    second SIGINT interrupts as ever. Of several processes all stop after the same update, whichever was signalled.

    Only the main thread hears signals: in any other nothing changes.

    Raises: Stopped at its end, where the signal came after the last update.
    """
    asked, several = False, processes.several()

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del frame
        if asked:  # a sweep that was interrupted terminates its trial, which heard the same Ctrl-C
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        asked = True
        say("stopping after this update, with a checkpoint; a second Ctrl-C stops at once")
        if several:
            processes.ask_to_stop()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    numbers = [signal.SIGINT] if several else [signal.SIGINT, signal.SIGTERM]
    heard = [n for n in numbers if signal.getsignal(n) != signal.SIG_IGN]  # as whoever began it
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield processes.asked_to_stop if several else lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked and not several:
        raise Stopped("stopped after the last update of a stage")
