"""Several processes that train one model: which one this is, whether it writes and prints, how they exchange values.

Each runs the same program, and feeds and computes on its own devices; `jax.distributed` joins them."""

import functools
import itertools
import os
import platform
import re
import signal
import zlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from rich.console import Console

from efficient_jax.errors import UserError

AUTO = "auto"
SILENT = 60
"""Seconds without a heartbeat after which a process counts as dead, and the others end."""


def join(processes: str, process: int, coordinator: str) -> None:
    """Joins this process to the others. Must be called before JAX looks for devices.

    Args:
        processes: number of processes; "auto": Slurm, Open MPI, Kubernetes or a TPU pod tell it, and the rest, in the
            environment.
        process: index of this one, in 0..processes-1.
        coordinator: host:port at which process 0 listens.

    Raises: UserError for arguments that do not fit each other, and where the processes do not connect.
    """
    arguments: dict[str, Any] = {}
    if processes != AUTO:
        count = _number(processes, "processes")
        if not 0 <= process < count:
            raise UserError(f"--process: {process} is not in 0 .. {count - 1}, the numbers of {count} processes")
        if not coordinator.rpartition(":")[2].isdecimal():
            raise UserError(f"--coordinator: {coordinator!r} is no host:port at which process 0 can be reached")
        arguments = {"coordinator_address": coordinator, "num_processes": count, "process_id": process}
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=SILENT, shutdown_timeout_seconds=SILENT)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"--processes={processes}: the processes do not find each other ({str(error).splitlines()[0]}); without a "
            "scheduler that says it, give each --processes, --process and the same --coordinator=HOST:PORT"
        ) from error


def _number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--{name}: {text!r} is no number") from None


def several() -> bool:
    """Returns whether several processes train the model."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Returns whether this process is the one that writes and prints.

    A single process does not look for devices here: a sweep leaves them to its trials.
    """
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def share(count: int) -> range:
    """Returns which of `count` pieces of work this process does: one in turn for each process.

    Args:
        count: pieces of work.
    """
    return range(jax.process_index(), count, jax.process_count()) if several() else range(count)


@functools.cache
def console() -> Console:
    """Returns the console of all lines, tables and progress bars of this process; silent unless it is the first one."""
    return Console(markup=False, highlight=False, quiet=not is_first())


def log(line: str) -> None:
    """Shows a line as it is: its brackets are no markup, and a long one is not broken.

    Args:
        line: the text.
    """
    console().print(line, soft_wrap=True)


def wait(name: str) -> None:
    """Waits until all processes have called it.

    Args:
        name: of the point in the program, the same in all processes.
    """
    if several():
        multihost_utils.sync_global_devices(name)


def on_this_host() -> int:
    """Returns how many of the processes share this machine."""
    host = np.array([zlib.crc32(platform.node().encode())], np.uint32)
    return int((gathered(host) == host).sum())


def ended(error: Exception) -> bool:
    """Returns whether an error is what a collective raises when another process has ended.

    Args:
        error: what was raised.
    """
    words = "gloo|nccl|connection|socket|heartbeat|unavailable|coordination"
    return several() and re.search(words, str(error), re.IGNORECASE) is not None


def gathered(mine: np.ndarray) -> np.ndarray:
    """Returns the arrays of all processes, concatenated along the first axis in the order of processes.

    Args:
        mine: [n ...], of this process, with the same shape and dtype in all.
    """
    return np.asarray(multihost_utils.process_allgather(mine, tiled=True)) if several() else mine


_asked = itertools.count()


def asked_to_stop() -> bool:
    """Returns whether all processes should stop now, since one of them got a SIGTERM.

    The answer is the same in all processes, which must call it equally often.
    """
    # JAX takes the index of a point, which must never repeat.
    return multihost_utils.reached_preemption_sync_point(next(_asked))


def ask_to_stop() -> None:
    """Asks all processes to stop: sends SIGTERM to this one, which JAX tells the others."""
    os.kill(os.getpid(), signal.SIGTERM)
