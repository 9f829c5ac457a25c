"""`train --images=FOLDER`: looks at the images, and rewrites the flags to those of the config that fits them."""

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from rich.console import Console

from efficient_jax.commands.files import PROGRAM
from efficient_jax.data import class_names, delimited
from efficient_jax.data.image_files import check_folder, class_folders, walk
from efficient_jax.errors import UserError, counted, few
from efficient_jax.explore import recipes
from efficient_jax.models import pretrained

FEW_TESTS = 100
SAMPLE = 200  # images that are opened
PARTS = {  # role -> names of the folder that has it
    "train": ("train", "training"),
    "test": ("test", "testing", "validation", "valid", "val"),
    "unlabelled": ("unlabelled", "unlabeled"),
}
FILE_COLUMNS = ("file", "filename", "file_name", "image", "path")
LABEL_COLUMNS = ("label", "class", "category", "target")


class Contents(NamedTuple):
    """What was found in a folder."""

    counts: dict[str, int]  # class -> labelled images
    pool: int  # images without a label
    tests: int  # test images in a folder of their own
    files: list[Path]
    source: dict[str, Any]  # settings of the source that reads them


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
    contents = _of_table(values["images"], values["labels"]) if values.get("labels") else _of_folder(values["images"])
    opened, unreadable = _opened(contents.files)
    _check(values["images"], contents, unreadable)
    data = recipes.Data(
        classes=len(contents.counts),
        labels=sum(contents.counts.values()),
        fewest=min(contents.counts.values()),
        pool=contents.pool,
        side=int(np.median([min(size) for size, _ in opened])),
        gray=all(gray for _, gray in opened),
        tests=contents.tests,
        pretrained=_has_weights(),
    )
    recipe = recipes.choose(data)
    overrides = {f"data.source.{name}": value for name, value in contents.source.items()} | recipe.overrides
    chosen = [f"--config={recipe.config}", *(f"--config.{key}={value}" for key, value in overrides.items())]
    passed_flags = [argument for argument in argv if not argument.startswith(("--images=", "--labels="))]
    if "workdir" not in values:
        passed_flags.append(f"--workdir=runs/{Path(values['images']).resolve().name}")
    names = {argument.partition("=")[0] for argument in passed_flags}
    flags = [*(argument for argument in chosen if argument.partition("=")[0] not in names), *passed_flags]
    if values.get("process", "0") == "0":
        _say(values["images"], contents, data, recipe, opened, unreadable, flags)
    return flags


def _say(
    path: str,
    contents: Contents,
    data: recipes.Data,
    recipe: recipes.Recipe,
    opened: Sequence[tuple[tuple[int, int], bool]],
    unreadable: Sequence[str],
    flags: Sequence[str],
) -> None:
    """Prints what was found, why which config is taken, and the command that does the same without looking."""
    most, least = max(contents.counts.values()), data.fewest
    per_class = f"{least:,} each" if least == most else f"{least:,} to {most:,} each"
    sides = sorted(min(size) for size, _ in opened)
    lines = [
        f"{path}: {data.labels:,} labelled images in {data.classes} classes ({per_class}), "
        f"{data.pool:,} without a label, "
        + (f"{counted(data.tests, 'test image')} in {contents.source.get('test_path')}" if data.tests else "")
        + ("" if data.tests else f"of which {recipe.overrides['data.test']:,} labelled ones are kept for the test")
        + f"; {'gray' if data.gray else 'color'}, shorter side {sides[0]} to {sides[-1]} pixels",
        f"recipe: {recipe.config}; {recipe.reason}",
    ]
    tests = data.tests or recipe.overrides["data.test"]
    if tests < FEW_TESTS:
        points = min(98 / np.sqrt(tests), 50)
        lines.append(f"note: with {counted(tests, 'test image')} the accuracy is known to +-{points:.0f} points only")
    if unreadable:
        lines.append(f"note: cannot be read: {few(list(unreadable), 3)}")
    lines.append("the same command in full; --config.KEY=VALUE changes it, --help shows every key:")
    console = Console(markup=False, highlight=False)
    for line in lines:
        console.print(line)
    console.print(" ".join(["  " + PROGRAM, "train", *map(_quoted, flags)]), soft_wrap=True)


def _quoted(flag: str) -> str:
    return f'"{flag}"' if "'" in flag and not set(flag) & set('"$`\\!') else shlex.quote(flag)


def _of_folder(path: str) -> Contents:
    """Returns what is in a folder of class folders, or of one for training and others for the test and the rest."""
    check_folder(path, "--images")
    folders, _ = class_folders(path, "--images")
    roles = {role: folders[name][0] for role, names in PARTS.items() for name in reversed(names) if name in folders}
    source: dict[str, Any] = {"path": path}
    test: Path | None = None
    if "train" in roles:
        source["path"] = str(roles["train"])
        test = roles.get("test")
        if "unlabelled" in roles:
            source["unlabelled_path"] = str(roles["unlabelled"])
        folders, _ = class_folders(source["path"], "--images")
    walked = {name: [file for f in paths for file in walk(f, "--images").files] for name, paths in folders.items()}
    labelled = {name: files for name, files in walked.items() if not class_names.is_no_label(name)}
    pool = [file for name, files in walked.items() if class_names.is_no_label(name) for file in files]
    if "unlabelled_path" in source:
        pool += walk(Path(source["unlabelled_path"]), "--images").files
    tests = walk(test, "--images").files if test else []
    if tests:
        source["test_path"] = str(test)
    counts = {name: len(files) for name, files in labelled.items()}
    if not counts and (loose := walk(Path(path), "--images").files):
        raise UserError(
            f"--images: {path!r} has {counted(len(loose), 'image')}, but no folder for each class; sort the images "
            "into such folders, or name their classes with --labels=TABLE.csv"
        )
    files = [file for part in labelled.values() for file in part] + pool + tests
    return Contents(counts, len(pool), len(tests), files, source)


def _of_table(path: str, labels: str) -> Contents:
    """Returns what a table says of the images in a folder."""
    check_folder(path, "--images")
    table = delimited.read(Path(labels), "--labels", (*FILE_COLUMNS, *LABEL_COLUMNS))
    columns = {name.lower(): name for name in table.names}
    file = next((columns[name] for name in FILE_COLUMNS if name in columns), None)
    label = next((columns[name] for name in LABEL_COLUMNS if name in columns), None)
    if file is None or label is None:
        raise UserError(
            f"--labels: {labels!r} has the columns {few(list(table.names))}; want one of {', '.join(FILE_COLUMNS)} and "
            f"one of {', '.join(LABEL_COLUMNS)}, or take configs/finetune_table.py, which names the columns"
        )
    classes = [class_names.normal(name) for name in table.column(label)]
    known = [name for name in classes if not class_names.is_no_label(name)]
    files = [Path(path) / name for name in table.column(file)]
    source = {"name": "table", "path": labels, "folder": path, "file": file, "label": label}
    return Contents(dict(Counter(known)), len(classes) - len(known), 0, files, source)


def _opened(files: Sequence[Path]) -> tuple[list[tuple[tuple[int, int], bool]], list[str]]:
    """Opens a sample of the files; returns ((width, height), whether it is gray) of each, and which are unreadable."""
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(SAMPLE, len(files))).astype(int))]
    opened, unreadable = [], []
    for file in chosen if files else ():
        try:
            with Image.open(file) as image:
                small = image.convert("RGB").resize((16, 16))
                channels = np.asarray(small).astype(int)
                opened.append((image.size, bool((np.ptp(channels, axis=-1) <= 2).all())))
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
            unreadable.append(str(file))
    return opened, unreadable


def _check(path: str, contents: Contents, unreadable: Sequence[str]) -> None:
    """Checks that something can be learned from what was found."""
    counts = contents.counts
    if not contents.files:
        raise UserError(f"--images: {path!r} has no images; want a folder for each class, such as {path}/cat/1.jpg")
    if unreadable and len(unreadable) == min(len(contents.files), SAMPLE):
        raise UserError(f"--images: none of the images can be read, first {unreadable[0]!r}; are they images?")
    if empty := [name for name, count in counts.items() if not count]:
        raise UserError(f"--images: class {empty[0]!r} has no images; add some, or remove the folder")
    if len(counts) < 2:
        only = f"one class only, {next(iter(counts))!r}" if counts else "no labelled image"
        raise UserError(f"--images: {path!r} has {only}; want two or more classes")
    alone = [name for name, count in counts.items() if count == 1]
    if alone and not contents.tests:
        raise UserError(
            f"--images: {few(alone, 3)}: one labelled image; want two or more of each class, one to learn from and "
            "one to test on"
        )


def _has_weights() -> bool:
    """Returns whether the packaged weights of EfficientNet-Lite0 are installed."""
    try:
        pretrained.packaged("efficientnet-lite0")
    except UserError:
        return False
    return True
