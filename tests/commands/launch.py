"""Runs launch.py in a process of its own, as a user does."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = "--config=configs/quickstart.py:tiny"


def start(*arguments: str, environment: Mapping[str, str] = {}) -> subprocess.Popen:
    environment = {**os.environ, "COLUMNS": "120", **environment}
    return subprocess.Popen(
        [sys.executable, "launch.py", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch(*arguments: str, environment: Mapping[str, str] = {}) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    process = start(*arguments, environment=environment)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
