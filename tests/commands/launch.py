"""Runs launch.py in a process of its own, as a user does, or a command of it in this process."""

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efficient_jax.commands import flags, function_of

ROOT = Path(__file__).parents[2]
TINY = "--config=configs/quickstart.py:tiny"

# Importing takes longer than most of what is tested here: done once, in a process that forks for every call. The child
# that waits for another writes that one's number and its exit code.
FORKS = """
import faulthandler, gc, json, os, runpy, signal, sys, warnings
import launch
import tests.one_platform
from efficient_jax.commands import COMMANDS, flags, function_of, help
for command in COMMANDS:
    function_of(command)
import orbax.checkpoint, sklearn.model_selection  # which commands import when they need them, in seconds
gc.freeze()
gc.set_threshold(10_000, 10, 10)  # as in conftest.py
warnings.filterwarnings("ignore", "os.fork")
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
for line in sys.stdin:
    arguments, state, *files = json.loads(line)
    if os.fork():
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        with open(state, "w", buffering=1) as file:
            print(child, file=file)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=file)
        os._exit(0)
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    faulthandler.register(signal.SIGALRM, chain=True)  # where it waited
    signal.alarm(300)
    sys.argv = ["launch.py", *arguments]
    runpy.run_path("launch.py", run_name="__main__")
"""


# An alarm outlasts the start of another program, and whoever set it: a server ends also where pytest was killed.
# Ctrl-C works also where pytest runs in the background of a script, whose children ignore it.
LIMITED = """
import os, signal, sys
signal.alarm(300)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
STARTED: list[subprocess.Popen] = []


class Forked:
    """A process that is forked; its methods are those of `subprocess.Popen`."""

    def __init__(self, *arguments: str) -> None:
        self.folder, self.returncode = Path(tempfile.mkdtemp()), None
        files = [str(self.folder / name) for name in ("state", "out", "err")]
        print(json.dumps([arguments, *files]), file=forks().stdin, flush=True)
        while not (state := self._state()):
            assert forks().poll() is None
            time.sleep(0.005)
        self.pid = int(state[0])

    def _state(self) -> list[str]:
        """[the number of the process, its exit code], as far as they are known."""
        state = self.folder / "state"
        return state.read_text().splitlines() if state.exists() else []

    def poll(self) -> int | None:
        if self.returncode is None and (code := self._state()[1:]):
            self.returncode = int(code[0])
        return self.returncode

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        end = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < end, f"it has not ended within {timeout} seconds"
            time.sleep(0.005)
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        shutil.rmtree(self.folder)
        return out, err


@functools.cache
def forks() -> subprocess.Popen:
    """The process that forks."""
    environment = {**os.environ, "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    forking = [sys.executable, "-c", FORKS]
    process = subprocess.Popen(forking, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE)
    atexit.register(process.communicate)  # ends it
    return process


def begin(*command: str, **settings: Any) -> subprocess.Popen:
    """A process that ends with its test (conftest.py): one that a failed test leaves would be told of in another."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, **settings)
    STARTED.append(process)
    return process


def start(*arguments: str, environment: Mapping[str, str] = {}) -> subprocess.Popen:
    """The command in a process that begins from nothing. It ends after five minutes, if not before."""
    command = [sys.executable, "-c", LIMITED, sys.executable, "launch.py", *arguments]
    return begin(*command, env={**os.environ, "COLUMNS": "120", **environment}, stderr=subprocess.PIPE)


def address_of(process: subprocess.Popen) -> str:
    """The address that `label` prints, after the lines on what is loaded."""
    return next(line.split()[-1] for line in process.stdout if line.startswith("label at "))


def end_started() -> None:
    """Ends what a test that failed has left running."""
    while STARTED:
        with STARTED.pop() as process:  # closes its pipes
            process.kill()


def launch(*arguments: str) -> tuple[int | None, str, str]:
    """(exit code, standard output, standard error)."""
    process = Forked(*arguments)
    out, err = process.communicate()
    return process.returncode, out, err


def call(*arguments: str) -> None:
    """Runs the command in this process, which has imported and compiled much already."""
    named = bool(arguments) and not arguments[0].startswith("-")
    command, rest = (arguments[0], arguments[1:]) if named else ("train", arguments)
    parsed = flags.parse(command, [*rest])
    function_of(command)(**parsed)


WITHOUT_NETWORK = """
import runpy, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        raise RuntimeError(f"{event}: {arguments}")

sys.addaudithook(refuse)
sys.argv = ["launch.py", *sys.argv[1:]]
import tests.one_platform  # so that other tests find what it compiles
runpy.run_path("launch.py", run_name="__main__")
"""
NAME = "die erste, für alle"


def quickstart(folder: Path) -> None:
    """Trains the tiny quickstart in `folder / NAME`, without a network; what it prints is in printed.txt."""
    command = [sys.executable, "-c", WITHOUT_NETWORK, "train", TINY, f"--workdir={folder / NAME}"]
    environment = os.environ | {"COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout)
