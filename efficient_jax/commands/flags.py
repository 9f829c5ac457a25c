"""A command's flags are the parameters of its function; what does not fit them is said in one line."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from efficient_jax import settings
from efficient_jax.commands import COMMANDS
from efficient_jax.commands.files import load_config
from efficient_jax.errors import UserError, nearest
from efficient_jax.experiment.config_keys import allow
from efficient_jax.optim import durations

OVERRIDE = re.compile(r"--config\.([\w.]+)(?:=(.*))?", re.DOTALL)
FLAG = re.compile(r"--?[A-Za-z][\w.]*")
DEFINE: dict[Any, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def parse(command: str, argv: list[str]) -> dict[str, Any]:
    """Returns the arguments that `argv` gives to a command's function.

    Args:
        command: a name of `COMMANDS`.
        argv: the flags behind it.

    Raises: UserError for flags and keys that it does not know, and values of another type.
    """
    parameters = parameters_of(command)
    argv = joined(argv)
    values = flags.FlagValues()
    try:
        for name, parameter in parameters.items():
            if name == "config":
                config = checked_config(config_flag(argv, parameter), argv)
                argv = [argument for argument in argv if not argument.startswith("--config=")]
                config_flags.DEFINE_config_dict(name, config, flag_values=values, sys_argv=["", *argv])
            else:
                DEFINE[parameter.annotation](name, parameter.default, "", flag_values=values)
        if rest := values(["launch.py", *argv])[1:]:
            raise UserError(f"{command}: {rest[0]!r} is no flag; flags are written --name=value")
    except flags.UnrecognizedFlagError as error:
        owner = next((c for c in COMMANDS if error.flagname in parameters_of(c)), "")
        hint = f"; it belongs to {owner!r}" if owner else nearest(error.flagname, parameters)
        raise UserError(f"{command}: no flag --{error.flagname}{hint}") from error
    except (flags.Error, OSError) as error:
        raise UserError(f"{command}: {str(error).splitlines()[0]}") from error
    arguments: dict[str, Any] = {name: values[name].value for name in parameters}
    if "config" in arguments:
        durations.override(arguments["config"], list(_overrides(argv)))
    return arguments


def checked_config(flag: str, argv: list[str]) -> ConfigDict:
    """Returns the config of FILE[:ARGUMENT], with all keys that `argv` overrides.

    Args:
        flag: the value of `--config`.
        argv: flags, joined; those that begin with `--config.` are overrides.

    Raises: UserError for a file that does not load, and a key that no function reads.
    """
    config = load_config(flag, "--config")
    allow(config, _overrides(argv))
    return config


def parameters_of(command: str) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a command's function. Raises: UserError for an unknown command."""
    return dict(inspect.signature(settings.choose(command, COMMANDS, "command")).parameters)


def config_flag(argv: list[str], parameter: inspect.Parameter) -> str:
    """Returns the last `--config` in joined flags, or the default of the command's parameter."""
    values = [argument.removeprefix("--config=") for argument in argv if argument.startswith("--config=")]
    return values[-1] if values else str(parameter.default)


def _overrides(argv: list[str]) -> dict[str, str]:
    return {match[1]: match[2] or "" for match in map(OVERRIDE.fullmatch, argv) if match}


def joined(argv: list[str]) -> list[str]:
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
