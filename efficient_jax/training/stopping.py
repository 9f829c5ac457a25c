"""Ctrl-C and SIGTERM while training: said at once, and what is done is saved before the end."""

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
    """Training was asked to stop, and did where nothing is lost."""


class Stop:
    """Whether training was asked to stop.

    `after` says what is finished first, in words; where it is "", nothing would be lost and a signal interrupts at
    once. The request stays in any case: an interrupt can get lost inside a callback, and the next question finds it.
    """

    def __init__(self, several: bool = False) -> None:
        self.after, self.requested, self._several = "", False, several

    def __call__(self) -> bool:
        """Of several processes all get the same answer, and have to ask equally often."""
        return distributed.asked_to_stop() if self._several else self.requested

    def check(self, where: str) -> None:
        """Raises: Stopped, saying `where`, when training was asked to stop."""
        if self():
            raise Stopped(f"stopped {where}")


@contextlib.contextmanager
def listening(say: Callable[[str], None]) -> Iterator[Stop]:
    """Within, the first SIGINT or SIGTERM is said at once and only noted in what is yielded, or interrupts where that
    has nothing to finish; a second SIGINT interrupts as ever.

    Python runs handlers between its own instructions, so not while XLA compiles: a thread hears the signals too,
    speaks, and ends the process where a second Ctrl-C does not get through. Only the main thread can listen: in any
    other nothing changes.
    """
    several = distributed.several()
    stop = Stop(several)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        again, stop.requested = stop.requested, True
        if several and not again:
            distributed.ask_to_stop()
        # A sweep that was interrupted terminates its trial, which heard the same Ctrl-C.
        if number == signal.SIGINT if again else not stop.after:
            raise KeyboardInterrupt

    numbers = [signal.SIGINT] if several else [signal.SIGINT, signal.SIGTERM]
    heard = [n for n in numbers if signal.getsignal(n) != signal.SIG_IGN]  # as whoever began it
    ears, mouth = socket.socketpair()
    mouth.setblocking(False)
    ended = threading.Event()

    def speak() -> None:
        count = 0
        while number := ears.recv(1):
            if number[0] not in heard:
                continue
            count += 1
            if count == 1:
                say(f"stopping{f' after {stop.after}' if stop.after else ''}; a second Ctrl-C stops at once")
            elif number[0] == signal.SIGINT and not ended.wait(GRACE):
                say("stopped; the same command carries on from the last checkpoint")
                os._exit(130)

    speaker = threading.Thread(target=speak, name="signals", daemon=True)
    speaker.start()
    before = {number: signal.signal(number, note) for number in heard}
    descriptor = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        ended.set()
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        mouth.close()
        speaker.join()
        ears.close()
