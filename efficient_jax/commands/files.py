"""The python files that a command is given: configs and sweeps."""

import runpy
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from efficient_jax.errors import UserError, nearest

HOME = Path(__file__).parents[2]
"""The folder of `launch.py`, which has `configs`."""


def located(flag: str) -> str:
    """FILE[:ARGUMENT] with the place of the file: as it is where the current folder has it, else below `HOME` where
    that has it."""
    file, *argument = flag.split(":", 1)
    here = Path(file).is_file() or not (HOME / file).is_file()
    return flag if here else ":".join([str(HOME / file), *argument])


def load_config(flag: str, where: str) -> ConfigDict:
    """What `get_config` of FILE[:ARGUMENT] returns, wherever it is `located`. Raises: UserError naming `where`."""
    file, *argument = flag.split(":", 1)
    module = run_file(file, where, "get_config")
    try:
        return module["get_config"](*argument)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: get_config of {file!r} fails: {type(error).__name__}: {error}") from error


def run_file(file: str, where: str, *names: str) -> dict[str, Any]:
    """What the python file defines, `names` among it, wherever it is `located`. Raises: UserError naming `where`."""
    place = located(file)
    if not Path(place).is_file():
        known = {str(path.relative_to(folder)) for folder in (Path(), HOME) for path in folder.glob("configs/**/*.py")}
        raise UserError(f"{where}: no file {file!r}{nearest(file, known)}")
    try:  # whatever somebody's own python raises
        module = runpy.run_path(place)
    except Exception as error:
        raise UserError(f"{where}: {file!r} does not load: {type(error).__name__}: {error}") from error
    for name in names:
        if name not in module:
            raise UserError(f"{where}: {file!r} does not define {name}")
    return module
