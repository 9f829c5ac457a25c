"""Parses the flags of a command, which are the parameters of its function; errors are one line."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from efficient_jax import settings
from efficient_jax.commands import COMMANDS, function_of
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
        command: one of `COMMANDS`.
        argv: the flags after the command.

    Raises:
        UserError: a flag or config key is unknown, or a value has the wrong type.
    """
    parameters = parameters_of(command)
    argv = joined(argv)
    if command == "train":
        from efficient_jax.commands import images_flag  # loads what only --images needs

        argv = joined(images_flag.rewritten(argv))
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
            raise UserError(f"{command}: {rest[0]!r} is not a flag; flags are written --name=value")
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
        argv: flags as `joined` returns them; those that begin with `--config.` are overrides.

    Raises:
        UserError: the file does not load, or no function reads a key.
    """
    config = load_config(flag, "--config")
    allow(config, _overrides(argv))
    return config


def parameters_of(command: str) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a command's function by name.

    Args:
        command: one of `COMMANDS`.

    Raises:
        UserError: there is no such command.
    """
    settings.choose(command, dict.fromkeys(COMMANDS), "command")
    return dict(inspect.signature(function_of(command)).parameters)


def config_flag(argv: list[str], parameter: inspect.Parameter) -> str:
    """Returns the value of the last `--config`, or the default of the parameter.

    Args:
        argv: flags as `joined` returns them.
        parameter: the parameter `config` of the command's function.
    """
    values = [argument.removeprefix("--config=") for argument in argv if argument.startswith("--config=")]
    return values[-1] if values else str(parameter.default)


def _overrides(argv: list[str]) -> dict[str, str]:
    return {match[1]: match[2] or "" for match in map(OVERRIDE.fullmatch, argv) if match}


def joined(argv: list[str]) -> list[str]:
    """Returns flags in the form `--NAME=VALUE`, `--config` first; of a repeated flag only the last is kept.

    `--NAME VALUE` and `-NAME=VALUE` are rewritten, and `--from=RUN` becomes the config of that run.

    Args:
        argv: the flags after the command, as typed.

    Raises:
        UserError: both `--from` and `--config` are given.
    """
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
    # ml_collections concatenates tuples that are given twice, defines overrides once for each config, and wants the
    # config before its overrides.
    last = {argument.partition("=")[0]: index for index, argument in enumerate(joined)}
    kept = [a for index, a in enumerate(joined) if "=" not in a or last[a.partition("=")[0]] == index]
    return sorted(kept, key=lambda argument: not argument.startswith("--config="))
