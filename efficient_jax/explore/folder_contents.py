"""What a folder of images holds for training: classes, images without a label, test images, and how large they are."""

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from efficient_jax.data import class_names, delimited, stored_image
from efficient_jax.data.dataset import HELD_OUT
from efficient_jax.data.image_files import check_folder, class_folders, comparable, walk
from efficient_jax.data.sources.image_folders import TEST, TRAIN
from efficient_jax.errors import UserError, counted, few
from efficient_jax.explore.recipes import Data
from efficient_jax.labelling import tables
from efficient_jax.models import pretrained
from efficient_jax.settings import Settings

SAMPLE = 200  # images that are opened
PARTS = {"train": TRAIN, "test": TEST, "unlabelled": ("unlabelled", "unlabeled")}
"""What a folder holds -> the names, in lower case, that say so, the most usual first."""
FILE_COLUMNS = ("file", "filename", "file_name", "image", "path")
LABEL_COLUMNS = ("label", "class", "category", "target")
ABOUT_COLUMNS = ("part", "answer")  # of the table that `label` writes


class Contents(NamedTuple):
    """What a folder holds, and how to read it."""

    data: Data  # what the choice of a recipe depends on
    most: int  # labelled images of the largest class
    sides: tuple[int, int]  # the smallest and largest of the shorter sides of a sample of the images, pixels
    unreadable: list[str]  # files of the sample that cannot be read
    source: Settings  # settings of the source that reads the images


class _Listed(NamedTuple):
    """The images of a folder before any is opened."""

    counts: dict[str, int]  # class -> labelled images
    labels: int  # labelled images
    pool: int  # images without a label
    tests: int  # test images in a folder of their own, or that the table names
    files: list[Path]
    source: Settings


def read(images: str, labels: str = "") -> Contents:
    """Counts the images of a folder, and opens a sample of them.

    Args:
        images: path of the folder. Without a table it has a folder for each class, or folders called train, test (or
            validation) and unlabelled, of which train and test have such folders.
        labels: path of a table that names the class of each image; "": the folders do.

    Raises: UserError where a path does not exist, and for images that nothing can be learned from.
    """
    listed = _of_table(images, labels) if labels else _of_folder(images)
    opened, unreadable = _opened(listed.files)
    _check(images, listed, unreadable)
    sides = sorted(min(size) for size, _ in opened)
    data = Data(
        classes=len(listed.counts),
        labels=listed.labels,
        fewest=min(listed.counts.values()),
        pool=listed.pool,
        side=int(np.median(sides)),
        gray=all(gray for _, gray in opened),
        tests=listed.tests,
        pretrained=_has_weights(),
    )
    return Contents(data, max(listed.counts.values()), (sides[0], sides[-1]), unreadable, listed.source)


def _of_folder(path: str) -> _Listed:
    """Returns what is in a folder of class folders, or of one for training and others for the test and the rest."""
    check_folder(path, "--images")
    folders, _ = class_folders(path, "--images")
    named = {name.lower(): paths[0] for name, paths in folders.items()}
    roles = {role: named[name] for role, names in PARTS.items() for name in reversed(names) if name in named}
    source: Settings = {"path": path}
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
    return _Listed(counts, sum(counts.values()), len(pool), len(tests), files, source)


def _of_table(path: str, labels: str) -> _Listed:
    """Returns what a table says of the images in a folder."""
    check_folder(path, "--images")
    table = delimited.read(Path(labels), "--labels", (*FILE_COLUMNS, *LABEL_COLUMNS))
    columns = {name.lower(): name for name in table.names}
    file = next((columns[name] for name in FILE_COLUMNS if name in columns), None)
    label = next((columns[name] for name in LABEL_COLUMNS if name in columns), None)
    several = [] if label or "said" not in table.names else tables.classes_of(table.names)  # of `label --several`
    if file is None or not (label or several):
        raise UserError(
            f"--labels: {labels!r} has the columns {few(list(table.names))}; want one of {', '.join(FILE_COLUMNS)} and "
            f"one of {', '.join(LABEL_COLUMNS)}, or take configs/finetune_table.py, which names the columns"
        )
    about = {name: columns[name] for name in ABOUT_COLUMNS if name in columns}
    parts = [cell.lower() for cell in table.column(about["part"])] if "part" in about else [""] * len(table.rows)
    if several:
        cells = zip(*map(table.column, several), strict=True)
        classes = [[name for name, cell in zip(several, row, strict=True) if cell in tables.TRUE] for row in cells]
    else:
        assert label
        classes = [[] if class_names.is_no_label(cell) else [class_names.normal(cell)] for cell in table.column(label)]
    learned = [names for names, part in zip(classes, parts, strict=True) if part not in HELD_OUT]
    tests = sum(part == "test" and bool(names) for names, part in zip(classes, parts, strict=True))
    chosen = sum(part == "selected" and bool(names) for names, part in zip(classes, parts, strict=True))
    labelled = sum(map(bool, learned))
    if not tests and chosen and chosen == labelled:
        command = shlex.join(["label", f"--images={path}", f"--out={labels}", "--test=40"])
        raise UserError(
            f"--labels: all {chosen:,} labelled images of {labels!r} were selected, so no figure on them holds for "
            f"others; label some that are drawn at random for the test: {command}"
        )
    files = [Path(path) / name for name in table.column(file)]
    others = len({*map(comparable, walk(Path(path), "--images").files)} - {*map(comparable, files)})
    source = {"name": "table", "path": labels, "folder": path, "file": file, **about, "rest": True}
    source |= {"labels": tuple(several)} if several else {"label": label}
    pool = 0 if several else others + sum(not names for names in learned)
    counts = Counter(name for names in learned for name in names)
    return _Listed(counts, labelled, pool, tests, files, source)


def _opened(files: Sequence[Path]) -> tuple[list[tuple[tuple[int, int], bool]], list[str]]:
    """Opens a sample of the files; returns ((width, height), whether it is gray) of each, and which are unreadable."""
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(SAMPLE, len(files))).astype(int))]
    opened, unreadable = [], []
    for file in chosen if files else ():
        try:
            with stored_image.opened(file) as image:
                small = image.convert("RGB").resize((16, 16))
                channels = np.asarray(small).astype(int)
                opened.append((image.size, bool((np.ptp(channels, axis=-1) <= 2).all())))
        except Exception:  # a damaged file makes decoders raise anything
            unreadable.append(str(file))
    return opened, unreadable


def _check(path: str, listed: _Listed, unreadable: Sequence[str]) -> None:
    """Checks that something can be learned from what was found."""
    counts = listed.counts
    if not listed.files:
        raise UserError(f"--images: {path!r} has no images; want a folder for each class, such as {path}/cat/1.jpg")
    if unreadable and len(unreadable) == min(len(listed.files), SAMPLE):
        raise UserError(f"--images: none of the images can be read, first {unreadable[0]!r}; are they images?")
    if empty := [name for name, count in counts.items() if not count]:
        raise UserError(f"--images: class {empty[0]!r} has no images; add some, or remove the folder")
    if len(counts) < 2:
        only = f"one class only, {next(iter(counts))!r}" if counts else "no labelled image"
        raise UserError(f"--images: {path!r} has {only}; want two or more classes")
    alone = [name for name, count in counts.items() if count == 1]
    if alone and not listed.tests:
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
