"""Whether convolutions and poolings are traced in their plain form, for compilers that are not XLA."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_plain = ContextVar("plain", default=False)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Makes what is traced meanwhile one operation of XLA per convolution and pooling: for compilers that are not XLA.

    The gradient is slow on CPU, the values are the same but for rounding.
    """
    before = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(before)


def is_plain() -> bool:
    """Returns whether `plain` is in effect."""
    return _plain.get()
