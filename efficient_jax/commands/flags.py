"""A command's flags are the arguments of its function; what does not fit them is said in one line."""

import inspect
import re
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from efficient_jax import settings
from efficient_jax.commands import COMMANDS
from efficient_jax.commands.files import load_config
from efficient_jax.errors import UserError, nearest
from efficient_jax.optim import durations

OVERRIDE = re.compile(r"--config\.([\w.]+)")
FLAG = re.compile(r"--?[A-Za-z][\w.]*")


def parse(command: str, argv: list[str]) -> dict[str, Any]:
    """The arguments that `argv` gives to a command's function. Raises: UserError for what it does not know."""
    parameters = inspect.signature(settings.choose(command, COMMANDS, "command")).parameters
    argv = _joined(argv)
    values = flags.FlagValues()
    try:
        for name, parameter in parameters.items():
            if name == "config":
                given = [a.removeprefix("--config=") for a in argv if a.startswith("--config=")]
                config = checked_config(given[-1] if given else parameter.default, argv)
                argv = [argument for argument in argv if not argument.startswith("--config=")]
                config_flags.DEFINE_config_dict(name, config, flag_values=values, sys_argv=["", *argv])
            else:
                flags.DEFINE_string(name, parameter.default, "", flag_values=values)
        if rest := values(["launch.py", *argv])[1:]:
            raise UserError(f"{command}: {rest[0]!r} is no flag; flags are written --name=value")
    except flags.UnrecognizedFlagError as error:
        owner = next((c for c in COMMANDS if error.flagname in inspect.signature(COMMANDS[c]).parameters), "")
        hint = f"; it belongs to {owner!r}" if owner else nearest(error.flagname, parameters)
        raise UserError(f"{command}: no flag --{error.flagname}{hint}") from error
    except (flags.Error, OSError) as error:
        raise UserError(f"{command}: {str(error).splitlines()[0]}") from error
    found: dict[str, Any] = {name: values[name].value for name in parameters}
    if "config" in found:
        durations.override(found["config"], [match[1] for match in map(OVERRIDE.match, argv) if match])
    return found


def checked_config(flag: str, argv: list[str]) -> ConfigDict:
    """Returns the config of FILE[:ARGUMENT], which has the keys that `argv` overrides.

    Raises: UserError for a file that does not load, and a key that the config does not have.
    """
    config = load_config(flag, "--config")
    for dotted in (match[1] for match in map(OVERRIDE.match, argv) if match):
        block, seen = config, "config"
        for part in dotted.split("."):
            keys = list(block) if hasattr(block, "keys") else []
            if part not in keys:
                raise UserError(f"--{seen}.{part}: no such key{nearest(part, keys)}")
            block, seen = block[part], f"{seen}.{part}"
    return config


def _joined(argv: list[str]) -> list[str]:
    """`--NAME VALUE` and `-NAME=VALUE` as `--NAME=VALUE`, the form in which the overrides look for the config; of a
    flag that is given twice the last; `--from=RUN` as the config of that run. Raises: UserError for it and a config."""
    rest, joined = list(argv), []
    while rest:
        argument = rest.pop(0)
        if FLAG.match(argument):
            argument = f"--{argument.lstrip('-')}"
        if FLAG.fullmatch(argument) and rest and not FLAG.match(rest[0]):
            argument = f"{argument}={rest.pop(0)}"
        elif argument in ("--config", "--from"):
            argument = f"{argument}="
        if argument.startswith("--from="):
            if any(re.match("--?config(=|$)", other) for other in argv):
                raise UserError(
                    "--from: --config is given too; a run has one config, and --config.KEY=VALUE changes it"
                )
            argument = f"--config={Path(__file__).with_name('repeat.py')}:{argument.removeprefix('--from=')}"
        joined.append(argument)
    # ml_collections joins tuples that are given twice, and defines overrides once for each config
    last = {argument.partition("=")[0]: number for number, argument in enumerate(joined)}
    kept = [a for number, a in enumerate(joined) if "=" not in a or last[a.partition("=")[0]] == number]
    return sorted(kept, key=lambda argument: not argument.startswith("--config="))  # which it wants before overrides
