"""The commands of `launch.py`; a command's flags are its function's arguments."""

import importlib
from collections.abc import Callable

HELP = ("--help", "-h", "--h")
COMMANDS = (
    *("train", "evaluate", "predict", "select", "explain", "explore", "label", "export", "sweep", "bench", "models"),
)


def function_of(command: str) -> Callable[..., None]:
    """Returns the function of a command; only its module is loaded, since all of them take a second longer.

    Args:
        command: one of `COMMANDS`.
    """
    function: Callable[..., None] = getattr(importlib.import_module(f"{__name__}.{command}"), command)
    return function
