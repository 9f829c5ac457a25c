"""The first signal is said at once and noted, a second Ctrl-C interrupts."""

import contextlib
import hashlib
import os
import signal
import sys
import threading
import time

import pytest

from efficient_jax.training.stopping import Stopped, listening
from tests.commands.launch import begin


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C, which a job in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_is_noted_and_a_second_ctrl_c_interrupts():
    said, before = [], signal.getsignal(signal.SIGTERM)
    with contextlib.suppress(Stopped), listening(said.append) as stop:
        stop.after = "this step"
        assert not stop()
        stop.check("too early")
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        signal.raise_signal(signal.SIGTERM)  # a sweep's, which was interrupted too
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped, match="stopped before stage 'b'"):
            stop.check("before stage 'b'")
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.set_wakeup_fd(-1) == -1
    assert said == ["stopping after this step; a second Ctrl-C stops at once"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_is_lost_in_a_callback_is_not_forgotten(number):
    """Where nothing is to be finished a signal interrupts at once."""
    with listening(lambda _: None) as stop:
        with contextlib.suppress(KeyboardInterrupt):  # as XLA, a weak reference's callback or `__del__` do
            signal.raise_signal(number)
            pytest.fail("it did not interrupt")
        assert stop()
        with pytest.raises(Stopped):
            stop.check("here")


def test_it_is_said_while_python_runs_no_handler():
    """As while XLA compiles: nothing but the thread speaks."""
    said = []
    with listening(lambda text: said.append((text, time.perf_counter()))) as stop:
        stop.after = "compiling"
        killer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        killer.start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 3_000_000)  # one call, without the interpreter's lock
        returned = time.perf_counter()
        assert stop()
        killer.join()
    ((text, when),) = said
    assert text.startswith("stopping after compiling; ")
    assert when < returned - 0.1


STUCK = """
import hashlib, signal
from efficient_jax.training import stopping
stopping.GRACE = 0.1
signal.signal(signal.SIGINT, signal.default_int_handler)
with stopping.listening(lambda text: print(text, flush=True)) as stop:
    stop.after = "compiling"
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


def test_a_second_ctrl_c_ends_what_python_cannot_interrupt():
    process = begin(sys.executable, "-c", STUCK)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline().startswith("stopping after compiling; a second Ctrl-C stops at once")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "stopped; the same command carries on from the last checkpoint\n")


def test_what_began_training_may_ignore_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with listening(lambda _: None) as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop()
