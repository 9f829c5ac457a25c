"""`--help`: the flags of a command and every key of its config."""

import inspect
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from efficient_jax import settings
from efficient_jax.commands import HELP, flags, function_of
from efficient_jax.commands.files import PROGRAM
from efficient_jax.experiment.config_keys import keys_of
from efficient_jax.settings import Settings

Row = tuple[str, ...]


def print_help(command: str, argv: list[str]) -> None:
    """Prints the flags of a command and the keys of its config: values or defaults, and what they mean.

    Args:
        command: one of `COMMANDS`.
        argv: the flags after the command; the keys of `--config` are shown with the overrides applied.

    Raises:
        UserError: the command is unknown, or the config does not load.
    """
    parameters = flags.parameters_of(command)
    argv = flags.joined([argument for argument in argv if argument not in HELP])
    function, console = function_of(command), Console(markup=False, highlight=False)
    about = inspect.cleandoc(function.__doc__ or "").split("\n\nArgs:")[0].split("\n\n")
    console.print(f"{PROGRAM} {command} [--flag=value ...]\n")
    for paragraph in about:
        console.print(f"{' '.join(paragraph.split())}\n")
    meanings = settings.meanings(function)
    rows: list[Row] = [(f"--{name}", _shown(p.default), meanings.get(name, "")) for name, p in parameters.items()]
    console.print(_table(("flag", "default", "meaning"), rows))
    if "config" in parameters:
        flag = flags.config_flag(argv, parameters["config"])
        config = flags.parse(command, argv)["config"]
        console.print(f"\nKeys of {flag}; each is set by --config.KEY=VALUE. An asterisk: set in the file.")
        for title, keys in _key_tables(config.to_dict()):
            console.print(f"\n{title}", style="bold")
            console.print(_table(("  key", "value", "meaning"), [(f"  {key}", *rest) for key, *rest in keys]))


def _key_tables(config: Settings) -> Iterator[tuple[str, list[Row]]]:
    """Yields (dotted path, rows) of each block that a config may have."""
    blocks: dict[str, list[Row]] = {}
    for dotted, key in keys_of(config).items():
        block, _, name = dotted.rpartition(".")
        mark = " *" if key.value != key.default else ""
        blocks.setdefault(block, []).append((name, f"{_shown(key.value)}{mark}", key.meaning))
    for block, rows in blocks.items():
        yield f"config.{block}" if block else "config", rows


def _table(headers: Row, rows: list[Row]) -> Table:
    table = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for column, most in zip(table.columns[:2], (34, 24), strict=True):
        column.overflow, column.max_width = "fold", most
    for row in rows:
        table.add_row(*row)
    return table


def _shown(value: Any) -> str:
    return '""' if value == "" else "required" if value is None else str(value)
