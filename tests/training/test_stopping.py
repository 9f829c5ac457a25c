"""The first signal is noted, the second interrupts."""

import signal

import pytest

from efficient_jax.training.stopping import deferred


def test_the_first_signal_is_noted_and_the_second_interrupts():
    said, before = [], signal.getsignal(signal.SIGTERM)
    with deferred(said.append) as stop:
        assert not stop(1)
        signal.raise_signal(signal.SIGTERM)
        assert stop(1)
        assert len(said) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
