"""Folders of pictures, one folder for each class."""

import os
from pathlib import Path

import numpy as np

from efficient_jax import binding
from efficient_jax.binding import nearest
from efficient_jax.data import stream
from efficient_jax.data.decode import Framing, left_out
from efficient_jax.data.sources import Source, of_pictures
from efficient_jax.types import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif"}
UNLABELLED = {"unlabelled", "unlabeled"}
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

    Classes are the folders of `path` in the order of their names. `test_path`, a folder of the same classes, fixes
    the test images; `unlabelled_path` names a folder with more pictures without a label, anywhere below it. Pictures
    become squares of `size` pixels (0: they stay as they are, all of one size), see
    `efficient_jax.data.decode.place`; up to `unreadable` files that cannot be read are left out, and listed.
    `feed`: see `efficient_jax.data.stream`.

    Raises: UserError for folders laid out in another way, too many unreadable files, settings that do not exist.
    """
    where = "config.data.source.path"
    folders = _folders(path, where)
    names = tuple(name for name in sorted(folders) if name not in UNLABELLED)
    _check_classes(path, names)
    parts = [(number, pictures(folders[name])) for number, name in enumerate(names)]
    for number, found in parts:
        if not found:
            raise UserError(f"{where}: class {names[number]!r} has no pictures in {str(folders[names[number]])!r}")
    parts += [(-1, pictures(folders[name])) for name in sorted(UNLABELLED & folders.keys())]
    if unlabelled_path:
        parts.append((-1, _unlabelled(unlabelled_path)))
    tests = []
    if test_path:
        test_folders = _folders(test_path, "config.data.source.test_path")
        for name in sorted(test_folders):
            if name not in names:
                raise UserError(
                    f"config.data.source.test_path: class {name!r} is not in {path!r}{nearest(name, names)}"
                )
            tests.append((names.index(name), pictures(test_folders[name])))
        if not any(found for _, found in tests):
            raise UserError(f"config.data.source.test_path: no pictures in the folders of {test_path!r}")
    files = [file for _, found in parts + tests for file in found]
    labels = np.repeat([label for label, _ in parts + tests], [len(found) for _, found in parts + tests])
    feed.labelled(labels, names, sum(len(found) for _, found in tests))
    framing = Framing(size, fit, crop, interpolation, channels)
    called = [str(file) for file in files]
    decoded = stream.pictures(files.__getitem__, called.__getitem__, len(files), framing, feed, files, "")
    decoded = left_out(decoded, called.__getitem__, unreadable, where)
    return of_pictures(decoded, labels, names, sum(len(found) for _, found in tests), called)


def _unlabelled(path: str) -> list[Path]:
    where = "config.data.source.unlabelled_path"
    _check_folder(path, where)
    if not (found := pictures(Path(path))):
        raise UserError(f"{where}: no pictures in {path!r} or the folders below it")
    return found


def _check_folder(path: str, where: str) -> None:
    if not Path(path).is_dir():
        raise UserError(f"{where}: {path!r} is {'a file' if Path(path).exists() else 'not there'}; want a folder")


def _folders(path: str, where: str) -> dict[str, Path]:
    """The folders in the folder `path` by name, hidden ones left out."""
    _check_folder(path, where)
    return {f.name: f for f in Path(path).iterdir() if f.is_dir() and not f.name.startswith(".")}


def _check_classes(path: str, names: tuple[str, ...]) -> None:
    where = "config.data.source.path"
    if not names:
        count = len(pictures(Path(path)))
        raise UserError(
            f"{where}: {path!r} has no class folders, but {binding.counted(count, 'picture')}; want a folder for each "
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


def pictures(folder: Path) -> list[Path]:
    """Files below `folder` that look like pictures, in an order that depends on their names only."""
    found: list[str] = []
    for inside, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]  # copies of notebooks and viewers
        shown = (name for name in names if not name.startswith("."))
        found += [os.path.join(inside, name) for name in shown if os.path.splitext(name)[1].lower() in SUFFIXES]
    found.sort(key=lambda file: file.split(os.sep))  # as paths are sorted, but faster
    return [Path(file) for file in found]
