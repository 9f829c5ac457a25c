"""Several processes that train one model: who they are, who writes, and what they tell one another.

Each runs the same program, and feeds and computes on its own devices; `jax.distributed` joins them.
"""

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

from efficient_jax.errors import UserError

AUTO = "auto"
SILENT = 60
"""Seconds after which a process that is not heard of is taken for dead, and the others end."""


def join(processes: str, process: int, coordinator: str) -> None:
    """Makes this one of several processes: `process` of `processes`, the first of which listens at `coordinator`, a
    host and a port. With processes="auto", what Slurm, Open MPI, Kubernetes or a TPU pod say in the environment.

    To be called before any device is looked at. Raises: UserError where that does not fit together, or nobody answers.
    """
    given: dict[str, Any] = {}
    if processes != AUTO:
        count = _number(processes, "processes")
        if not 0 <= process < count:
            raise UserError(f"--process: {process} is not in 0 .. {count - 1}, the numbers of {count} processes")
        if not coordinator.rpartition(":")[2].isdecimal():
            raise UserError(f"--coordinator: {coordinator!r} is no host:port at which process 0 can be reached")
        given = {"coordinator_address": coordinator, "num_processes": count, "process_id": process}
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=SILENT, shutdown_timeout_seconds=SILENT)
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
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that writes and speaks. Without others no device is looked at: a sweep leaves
    them to its trials."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def wait(name: str) -> None:
    """Until all processes are here."""
    if several():
        multihost_utils.sync_global_devices(name)


def on_this_host() -> int:
    """How many of the processes share this machine."""
    host = np.array([zlib.crc32(platform.node().encode())], np.uint32)
    return int((gathered(host) == host).sum())


def ended(error: Exception) -> bool:
    """Whether `error` is what a collective says when another process has ended."""
    words = "gloo|nccl|connection|socket|heartbeat|unavailable|coordination"
    return several() and re.search(words, str(error), re.IGNORECASE) is not None


def gathered(mine: np.ndarray) -> np.ndarray:
    """The arrays of all processes, one behind the other."""
    return np.asarray(multihost_utils.process_allgather(mine, tiled=True)) if several() else mine


_asked = itertools.count()


def asked_to_stop() -> bool:
    """Whether all processes shall stop now, since one of them got a SIGTERM: the same answer in each, which all have to
    ask for equally often."""
    return multihost_utils.reached_preemption_sync_point(
        next(_asked)
    )  # JAX names a point; one that is past never comes


def ask_to_stop() -> None:
    """JAX hears the SIGTERM, and tells the other processes."""
    os.kill(os.getpid(), signal.SIGTERM)
