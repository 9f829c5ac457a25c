"""Folders of pictures, one folder for each class."""

import functools
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from efficient_jax import settings
from efficient_jax.data import labels as label_names
from efficient_jax.data import stream
from efficient_jax.data.decode import Framing, left_out
from efficient_jax.data.sources import Source, of_pictures
from efficient_jax.settings import nearest
from efficient_jax.types import UserError

MORE = {".avif", ".heic", ".heics", ".heif", ".heifs", ".hif", ".mpo"}  # by plugins, or as another format
NO_PIXELS = {
    "BUFR",
    "EPS",
    "GRIB",
    "HDF5",
    "IPTC",
    "MPEG",
    "WMF",
}  # of Pillow's formats, not decoded by itself
SYSTEM_FOLDERS = {  # in lower case: thumbnails, deleted files and attributes of NAS systems, archives and Windows
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "@eadir",
    "@recently-snapshot",
    "@recycle",
    "@tmp",
    "__macosx",
    "lost+found",
    "network trash folder",
    "system volume information",
    "temporary items",
}
REASONS = 8  # that the note lists
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def folder(
    *,
    path: str,
    size: int,
    test_path: str = "",
    unlabelled_path: str = "",
    fit: str = "crop",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    unreadable: int = 0,
    feed: stream.Feed = stream.IN_MEMORY,
) -> Source:
    """Your own pictures: `path/cat/1.jpg`, `path/dog/any/where/2.png`, and `path/unlabelled/3.jpg` without a label.

    Classes are the folders of `path` in the order of their names, without a label are those in folders with a name of
    `efficient_jax.data.labels.NO_LABEL`. `test_path`, a folder of the same classes, fixes
    the test images; `unlabelled_path` names a folder with more pictures without a label, anywhere below it. Pictures
    become squares of `size` pixels (0: they stay as they are, all of one size), see
    `efficient_jax.data.decode.place`; up to `unreadable` files that cannot be read are left out, and listed.
    `feed`: see `efficient_jax.data.stream`.

    Raises: UserError for folders laid out in another way, too many unreadable files, settings that do not exist.
    """
    where = "config.data.source.path"
    folders, passed_over = class_folders(path, where)
    names = tuple(name for name in sorted(folders) if not label_names.is_no_label(name))
    _check_classes(path, names)
    parts, none = [], []
    for name in (*names, *sorted(folders.keys() - {*names})):
        found = _joined(pictures(folder, where) for folder in folders[name])
        if name in names and not found.files:
            raise UserError(f"{where}: class {name!r} has no pictures in {str(folders[name][0])!r}")
        parts.append((names.index(name) if name in names else -1, found))
        none += [] if name in names else [name] * len(found.files)
    if unlabelled_path:
        parts.append((-1, _unlabelled(unlabelled_path)))
    tests = []
    if test_path:
        test_folders, beside = class_folders(test_path, "config.data.source.test_path")
        passed_over += beside
        for name in sorted(test_folders):
            if name not in names:
                raise UserError(
                    f"config.data.source.test_path: class {name!r} is not in {path!r}{nearest(name, names)}"
                )
            each = (pictures(folder, "config.data.source.test_path") for folder in test_folders[name])
            tests.append((names.index(name), _joined(each)))
        if not any(found.files for _, found in tests):
            raise UserError(f"config.data.source.test_path: no pictures in the folders of {test_path!r}")
    files = [file for _, found in parts + tests for file in found.files]
    labels = np.repeat([label for label, _ in parts + tests], [len(found.files) for _, found in parts + tests])
    feed.labelled(labels, names, sum(len(found.files) for _, found in tests))
    framing = Framing(size, fit, crop, interpolation, channels)
    called = [label_names.writable(str(file)) for file in files]
    decoded = stream.pictures(files.__getitem__, called.__getitem__, len(files), framing, feed, files, "")
    decoded = left_out(decoded, called.__getitem__, unreadable, where)
    source = of_pictures(decoded, labels, names, sum(len(found.files) for _, found in tests), called)
    passed_over += _joined(found for _, found in parts + tests).passed_over
    notes = *label_names.note(none, len(files)), *note(passed_over)
    return source._replace(notes=(*source.notes, *notes))


def _unlabelled(path: str) -> "Walked":
    where = "config.data.source.unlabelled_path"
    _check_folder(path, where)
    if not (found := pictures(Path(path), where)).files:
        raise UserError(f"{where}: no pictures in {path!r} or the folders below it")
    return found


def _check_folder(path: str, where: str) -> None:
    if not Path(path).is_dir():
        raise UserError(f"{where}: {path!r} is {'a file' if Path(path).exists() else 'not there'}; want a folder")


def class_folders(path: str, where: str) -> tuple[dict[str, list[Path]], Counter[str]]:
    """(the folders in the folder `path` by class name, what is passed over there)."""
    _check_folder(path, where)
    folders: dict[str, list[Path]] = {}
    passed_over: Counter[str] = Counter()
    for entry in sorted(Path(path).iterdir()):
        if not entry.is_dir():
            reason = _passed_over(entry.name)
            passed_over[reason or "beside the class folders"] += 1
        elif _is_system(entry.name):
            passed_over[f"folder {entry.name!r}"] += 1
        else:
            folders.setdefault(label_names.normal(entry.name), []).append(entry)
    return folders, passed_over


def _check_classes(path: str, names: tuple[str, ...]) -> None:
    where = "config.data.source.path"
    if not names:
        count = len(pictures(Path(path), where).files)
        raise UserError(
            f"{where}: {path!r} has no class folders, but {settings.counted(count, 'picture')}; want a folder for each "
            f"class, such as {path}/cat/1.jpg and {path}/dog/2.jpg"
        )
    if len(names) == 1:
        raise UserError(f"{where}: {path!r} has one class only, {names[0]!r}; want two or more folders")
    if {name.lower() for name in names} <= PARTS:
        train = next((name for name in names if name.lower().startswith("train")), names[0])
        raise UserError(
            f"{where}: {path!r} has the folders {', '.join(names)}, which are no classes; say "
            f"config.data.source.path={path}/{train}, and config.data.source.test_path for the images to test on"
        )


class Walked(NamedTuple):
    """Image files below a folder."""

    files: list[Path]
    passed_over: Counter[str]  # reason -> how many files, or folders, were left out


def pictures(folder: Path, where: str) -> Walked:
    """Files below `folder` whose suffix is that of an image, in an order that depends on their names only.

    Links to folders are followed. Hidden files and folders, and those of the system, are passed over.

    Raises: UserError naming `where` for a folder that cannot be read, or a link that leads back to where it is.
    """
    found: list[str] = []
    passed_over: Counter[str] = Counter()
    root = str(folder)
    # (folder, the same without links, those in which the links to it are without links)
    ahead: list[tuple[str, str, tuple[str, ...]]] = [(root, os.path.realpath(root), ())]
    try:
        while ahead:
            inside, real, links = ahead.pop()
            with os.scandir(inside) as entries:
                for entry in entries:
                    if entry.is_dir():
                        if _is_system(entry.name):
                            passed_over[f"folder {entry.name!r}"] += 1
                        elif entry.is_symlink():
                            below, through = os.path.realpath(entry.path), (*links, real)
                            _check_loop(entry.path, below, through, where)
                            ahead.append((entry.path, below, through))
                        else:
                            ahead.append((entry.path, os.path.join(real, entry.name), links))
                    elif reason := _passed_over(entry.name):
                        passed_over[reason] += 1
                    else:
                        found.append(entry.path)
    except OSError as error:
        raise UserError(f"{where}: cannot read {str(error.filename or root)!r}: {error.strerror}") from error
    found.sort(key=lambda file: file.split(os.sep))  # as paths are sorted, but faster
    return Walked([Path(file) for file in found], passed_over)


def _check_loop(link: str, target: str, through: tuple[str, ...], where: str) -> None:
    """That none of the folders `through` which a walk came is the link's target, or below it."""
    if any(f"{folder}{os.sep}".startswith(f"{target.rstrip(os.sep)}{os.sep}") for folder in through):
        raise UserError(f"{where}: the link {link!r} leads back to {target!r}, in which it is itself; remove the link")


def _is_system(folder: str) -> bool:
    return folder.startswith(".") or folder.lower() in SYSTEM_FOLDERS  # copies of notebooks and viewers


def _passed_over(name: str) -> str:
    """Why a file is no image, by its name; "" where it is."""
    if name.startswith("."):
        return "hidden"
    suffix = os.path.splitext(name)[1].lower()
    return "" if suffix in suffixes() else suffix or "without a suffix"


@functools.cache
def suffixes() -> frozenset[str]:
    """Of the files that Pillow can decode, in lower case."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in known if kind in Image.OPEN and kind not in NO_PIXELS) | MORE


def _joined(parts: Iterable[Walked]) -> Walked:
    files: list[Path] = []
    passed_over: Counter[str] = Counter()
    for part in parts:
        files += part.files
        passed_over += part.passed_over
    return Walked(files, passed_over)


def note(passed_over: Counter[str]) -> tuple[str, ...]:
    """Says which files and folders were passed over: how many for each reason."""
    if not passed_over:
        return ()
    ordered = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{count:,} {reason}" for reason, count in ordered[:REASONS])
    more = sum(count for _, count in ordered[REASONS:])
    others = f", {more:,} others" if more else ""
    return (f"files and folders that were passed over: {listed}{others}",)
