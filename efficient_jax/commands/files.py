"""Where the program lies: its configs and commit; loads the Python files that are given to a command."""

import runpy
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from efficient_jax.errors import UserError, nearest

CHECKOUT = Path(__file__).parents[2]
"""The folder that holds `launch.py`, where the package is not installed from a wheel."""

HOME = CHECKOUT if (CHECKOUT / "launch.py").is_file() else Path(sysconfig.get_path("data"), "share", "efficient_jax")
"""The folder that holds `configs`: the checkout, or where a wheel puts them."""

PROGRAM = "python launch.py" if HOME == CHECKOUT else "efficient-jax"
"""What a user types before the name of a command."""


def git(*arguments: str) -> bytes:
    """Returns the output of git in the checkout of this code; empty where there is no checkout, or no git.

    Args:
        *arguments: of git.
    """
    if HOME != CHECKOUT:  # a virtual environment may lie in somebody else's repository
        return b""
    try:
        done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, check=False)
    except OSError:  # git is not installed
        return b""
    return done.stdout if done.returncode == 0 else b""


def located(flag: str) -> str:
    """Returns FILE[:ARGUMENT] with FILE as given if it exists in the current folder, otherwise below `HOME`.

    Args:
        flag: FILE or FILE:ARGUMENT; unchanged if the file is in neither folder.
    """
    file, *argument = flag.split(":", 1)
    here = Path(file).is_file() or not (HOME / file).is_file()
    return flag if here else ":".join([str(HOME / file), *argument])


def load_config(flag: str, where: str) -> ConfigDict:
    """Returns the config that `get_config` of a file returns.

    Args:
        flag: FILE or FILE:ARGUMENT, see `located`.
        where: the flag or key, for error messages.

    Raises:
        UserError: the file does not exist, does not load, or its `get_config` is missing or fails.
    """
    file, *argument = flag.split(":", 1)
    module = run_file(file, where, "get_config")
    try:
        return module["get_config"](*argument)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: get_config of {file!r} fails: {type(error).__name__}: {error}") from error


def run_file(file: str, where: str, *names: str) -> dict[str, Any]:
    """Runs a Python file and returns its global names.

    Args:
        file: path, see `located`.
        where: the flag or key, for error messages.
        *names: names that it has to define.

    Raises:
        UserError: the file does not exist, does not load, or lacks one of the names.
    """
    path = located(file)
    if not Path(path).is_file():
        known = {
            str(config.relative_to(folder)) for folder in (Path(), HOME) for config in folder.glob("configs/**/*.py")
        }
        raise UserError(f"{where}: no file {file!r}{nearest(file, known)}")
    try:  # the file may raise anything
        module = runpy.run_path(path)
    except Exception as error:
        raise UserError(f"{where}: {file!r} does not load: {type(error).__name__}: {error}") from error
    for name in names:
        if name not in module:
            raise UserError(f"{where}: {file!r} does not define {name}")
    return module
