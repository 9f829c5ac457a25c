"""Runs launch.py in a process of its own, as a user does."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = "--config=configs/quickstart.py:tiny"

# Importing takes longer than most of what is tested here: done once, in a process that forks for every call.
FORKS = """
import json, os, runpy, signal, sys, warnings
import launch
from efficient_jax.commands import COMMANDS, flags, function_of, help
for command in COMMANDS:
    function_of(command)
warnings.filterwarnings("ignore", "os.fork")
for line in sys.stdin:
    arguments, files = json.loads(line)
    if not os.fork():
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY), number)
        signal.alarm(300)
        sys.argv = ["launch.py", *arguments]
        runpy.run_path("launch.py", run_name="__main__")
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def start(*arguments: str, environment: Mapping[str, str] = {}) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "launch.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch(*arguments: str, environment: Mapping[str, str] = {}) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    if environment:
        process = start(*arguments, environment=environment)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        forks = _forks()
        print(json.dumps([arguments, [out.name, err.name]]), file=forks.stdin, flush=True)
        return int(forks.stdout.readline()), out.read(), err.read()


@functools.cache
def _forks() -> subprocess.Popen:
    environment = {**os.environ, "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", FORKS], cwd=ROOT, env=environment, text=True, **pipes)
