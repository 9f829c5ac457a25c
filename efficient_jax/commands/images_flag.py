"""`train --images=FOLDER`: rewrites the flags to those of the config that fits the images, and says why."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from efficient_jax.commands.files import PROGRAM
from efficient_jax.errors import UserError, counted, few
from efficient_jax.explore import folder_contents, recipes
from efficient_jax.explore.folder_contents import Contents
from efficient_jax.explore.recipes import Recipe

FEW_TESTS = 100


def rewritten(argv: list[str]) -> list[str]:
    """Returns flags with `--config` and its overrides in place of `--images` and `--labels`; says what was chosen.

    Flags that are given beside `--images` come later and so win.

    Args:
        argv: the flags of `train` as `flags.joined` returns them.

    Raises:
        UserError: the folder cannot be learned from, or a config is given too.
    """
    values = dict(argument.removeprefix("--").split("=", 1) for argument in argv if "=" in argument)
    if not values.get("images"):
        if values.get("labels"):
            raise UserError("--labels: names the classes of the images in --images=FOLDER, which is missing")
        return argv
    if "config" in values:
        raise UserError(
            "--images: chooses the config, but --config is given too; give one of both. --config.KEY=VALUE beside "
            "--images changes what it chooses"
        )
    contents = folder_contents.read(values["images"], values.get("labels", ""))
    recipe = recipes.choose(contents.data)
    overrides = {f"data.source.{name}": value for name, value in contents.source.items()} | recipe.overrides
    if contents.source.get("rest"):  # copies of test images are left out and listed
        overrides["data.duplicates"] = "drop"
    chosen = [f"--config={recipe.config}", *(f"--config.{key}={value}" for key, value in overrides.items())]
    passed_flags = [argument for argument in argv if not argument.startswith(("--images=", "--labels="))]
    if "workdir" not in values:
        labels = f"_{contents.data.labels + contents.data.tests}" * bool(values.get("labels"))  # more are another run
        passed_flags.append(f"--workdir=runs/{Path(values['images']).resolve().name}{labels}")
    names = {argument.partition("=")[0] for argument in passed_flags}
    flags = [*(argument for argument in chosen if argument.partition("=")[0] not in names), *passed_flags]
    if values.get("process", "0") == "0":
        _say(values["images"], contents, recipe, flags)
    return flags


def _say(path: str, contents: Contents, recipe: Recipe, flags: Sequence[str]) -> None:
    """Prints what was found, why which config is taken, and the command that does the same without looking."""
    data, (shortest, longest) = contents.data, contents.sides
    least, most = data.fewest, contents.most
    tests = data.tests or recipe.overrides["data.test"]
    per_class = f"{least:,} each" if least == most else f"{least:,} to {most:,} each"
    side = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    where = f"{counted(tests, 'test image')} in {contents.source.get('test_path', 'the table')}"
    lines = [
        f"{path}: {data.labels:,} labelled images in {data.classes} classes ({per_class}), "
        f"{where if data.tests else f'{tests:,} of them kept for the test'}, "
        f"{f'{data.pool:,}' if data.pool else 'none'} without a label; "
        f"{'gray' if data.gray else 'color'}, shorter side {side} pixels",
        f"recipe: {recipe.config}; {recipe.reason}",
    ]
    if tests < FEW_TESTS:
        points = min(98 / np.sqrt(tests), 50)
        lines.append(f"note: with {counted(tests, 'test image')} the accuracy is known to +-{points:.0f} points only")
    if contents.unreadable:
        lines.append(
            f"note: cannot be read: {few(contents.unreadable, 3)}; mend or remove them, or leave out up to so many "
            "with --config.data.source.unreadable"
        )
    lines.append("the same command in full; --config.KEY=VALUE changes it, --help shows every key:")
    console = Console(markup=False, highlight=False)
    for line in lines:
        console.print(line)
    console.print(" ".join(["  " + PROGRAM, "train", *map(_quoted, flags)]), soft_wrap=True)


def _quoted(flag: str) -> str:
    return f'"{flag}"' if "'" in flag and not set(flag) & set('"$`\\!') else shlex.quote(flag)
