"""Ctrl-C and SIGTERM while training: reported at once; training ends after the next checkpoint."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from efficient_jax import distributed

GRACE = 2.0
"""Seconds after a second Ctrl-C in which Python may interrupt what runs; then the process ends as it is."""


class Stopped(Exception):
    """Training was asked to stop, and stopped where no work is lost."""


class Stop:
    """Whether training was asked to stop: `stop()` is True from then on.

    `after` says in words what is finished first. Where it is "", no work would be lost, and a signal interrupts at
    once. The request stays in any case: an interrupt can get lost inside a callback, and the next call sees it.
    """

    def __init__(self, several: bool = False) -> None:
        self.after, self.requested, self._several = "", False, several

    def __call__(self) -> bool:
        """Returns the same on all processes, which have to call it equally often."""
        return distributed.asked_to_stop() if self._several else self.requested

    def check(self, where: str) -> None:
        """Stops here, if training was asked to stop.

        Args:
            where: where training is, for the message.

        Raises: Stopped.
        """
        if self():
            raise Stopped(f"stopped {where}")


@contextlib.contextmanager
def listening(say: Callable[[str], None]) -> Iterator[Stop]:
    """Defers the first SIGINT or SIGTERM: the yielded `stop()` becomes True. A second SIGINT interrupts at once.

    Where `stop.after` is "", the first signal interrupts at once too. Python runs signal handlers between its own
    instructions, so not while XLA compiles: a thread gets the signals too, reports them, and ends the process where a
    second Ctrl-C has no effect. Only the main thread can handle signals: in any other nothing changes.

    Args:
        say: shows a line; called in another thread.
    """
    several = distributed.several()
    stop = Stop(several)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        requested_before, stop.requested = stop.requested, True
        if several and not requested_before:
            distributed.ask_to_stop()
        # A sweep that was interrupted terminates its trial, which got the same Ctrl-C.
        if number == signal.SIGINT if requested_before else not stop.after:
            raise KeyboardInterrupt

    numbers = [signal.SIGINT] if several else [signal.SIGINT, signal.SIGTERM]
    handled = [n for n in numbers if signal.getsignal(n) != signal.SIG_IGN]  # ignored ones stay so
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    ended = threading.Event()

    def report() -> None:
        count = 0
        while number := receiver.recv(1):
            if number[0] not in handled:
                continue
            count += 1
            if count == 1:
                say(f"stopping{f' after {stop.after}' if stop.after else ''}; a second Ctrl-C stops at once")
            elif number[0] == signal.SIGINT and not ended.wait(GRACE):
                say("stopped; the same command carries on from the last checkpoint")
                os._exit(130)

    reporter = threading.Thread(target=report, name="signals", daemon=True)
    reporter.start()
    before = {number: signal.signal(number, note) for number in handled}
    descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        ended.set()
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        sender.close()
        reporter.join()
        receiver.close()
