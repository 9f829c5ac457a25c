"""A command's flags are the arguments of its function; what does not fit them is said in one line."""

import inspect
import re
import runpy
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from efficient_jax import binding
from efficient_jax.commands import COMMANDS
from efficient_jax.types import UserError


def parse(command: str, argv: list[str]) -> dict[str, Any]:
    """The arguments that `argv` gives to a command's function. Raises: UserError for what it does not know."""
    parameters = inspect.signature(binding.choose(command, COMMANDS, "command")).parameters
    values = flags.FlagValues()
    for name, parameter in parameters.items():
        if name == "config":
            given = [a.removeprefix("--config=") for a in argv if a.startswith("--config=")]
            check_config(given[-1] if given else parameter.default, argv)
            config_flags.DEFINE_config_file(name, parameter.default, flag_values=values, sys_argv=["", *argv])
        else:
            flags.DEFINE_string(name, parameter.default, "", flag_values=values)
    try:
        if rest := values(["launch.py", *argv])[1:]:
            raise UserError(f"{command}: {rest[0]!r} is no flag; flags are written --name=value")
    except flags.UnrecognizedFlagError as error:
        owner = next((c for c in COMMANDS if error.flagname in inspect.signature(COMMANDS[c]).parameters), "")
        hint = f"; it belongs to {owner!r}" if owner else binding.nearest(error.flagname, parameters)
        raise UserError(f"{command}: no flag --{error.flagname}{hint}") from error
    except flags.Error as error:
        raise UserError(f"{command}: {str(error).splitlines()[0]}") from error
    return {name: values[name].value for name in parameters}


def check_config(flag: str, argv: list[str]) -> None:
    """That the config file loads, and has the keys that `argv` overrides."""
    file, *argument = flag.split(":", 1)
    if not Path(file).is_file():
        known = [str(path) for path in Path("configs").glob("*.py")]
        raise UserError(f"--config: no file {file!r}{binding.nearest(file, known)}")
    try:
        config = runpy.run_path(file)["get_config"](*argument)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--config: {file!r} does not load: {type(error).__name__}: {error}") from error
    for dotted in (m[1] for m in (re.match(r"--config\.([\w.]+)", a) for a in argv) if m):
        block, seen = config, "config"
        for part in dotted.split("."):
            keys = list(block) if hasattr(block, "keys") else []
            if part not in keys:
                raise UserError(f"--{seen}.{part}: no such key{binding.nearest(part, keys)}")
            block, seen = block[part], f"{seen}.{part}"
