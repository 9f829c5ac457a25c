"""The first signal is noted, a second Ctrl-C interrupts."""

import contextlib
import signal

import pytest

from efficient_jax.training.stopping import Stopped, deferred


def test_a_signal_is_noted_and_a_second_ctrl_c_interrupts():
    of_whoever_began = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    said, before = [], signal.getsignal(signal.SIGTERM)
    with contextlib.suppress(Stopped), deferred(said.append) as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        assert len(said) == 1
        signal.raise_signal(signal.SIGTERM)  # a sweep's, which was interrupted too
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before
    signal.signal(signal.SIGINT, of_whoever_began)


def test_a_signal_after_the_last_update_is_not_forgotten():
    with pytest.raises(Stopped, match="after the last update"), deferred(lambda _: None):
        signal.raise_signal(signal.SIGTERM)
