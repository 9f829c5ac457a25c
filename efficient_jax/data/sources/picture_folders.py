"""Folders of pictures, one folder for each class."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from efficient_jax.data import class_names, stream
from efficient_jax.data.dataset import Source, of_pictures
from efficient_jax.data.decode import left_out
from efficient_jax.data.framing import Framing
from efficient_jax.data.picture_files import Walked, check_folder, class_folders, note, pictures
from efficient_jax.errors import UserError, counted, nearest

PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def folder(
    feed: stream.Feed = stream.IN_MEMORY,
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
) -> Source:
    """Your own pictures: `path/cat/1.jpg`, `path/dog/any/where/2.png`, and `path/unlabelled/3.jpg` without a label.

    Classes are the folders of `path` in the order of their names, without a label are those in folders with a name of
    `efficient_jax.data.class_names.NO_LABEL`. `test_path`, a folder of the same classes, fixes
    the test images; `unlabelled_path` names a folder with more pictures without a label, anywhere below it. Pictures
    become squares of `size` pixels (0: they stay as they are, all of one size), see
    `efficient_jax.data.framing.place`; up to `unreadable` files that cannot be read are left out, and listed.
    `feed`: see `efficient_jax.data.stream`.

    Raises: UserError for folders laid out in another way, too many unreadable files, settings that do not exist.
    """
    where = "config.data.source.path"
    folders, passed_over = class_folders(path, where)
    names = tuple(name for name in sorted(folders) if not class_names.is_no_label(name))
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
    called = [class_names.writable(str(file)) for file in files]
    decoded = stream.pictures(files.__getitem__, called.__getitem__, len(files), framing, feed, files, "")
    decoded = left_out(decoded, called.__getitem__, unreadable, where)
    source = of_pictures(decoded, labels, names, sum(len(found.files) for _, found in tests), called)
    passed_over += _joined(found for _, found in parts + tests).passed_over
    notes = *class_names.note(none, len(files)), *note(passed_over)
    return source._replace(notes=(*source.notes, *notes))


def _unlabelled(path: str) -> Walked:
    where = "config.data.source.unlabelled_path"
    check_folder(path, where)
    if not (found := pictures(Path(path), where)).files:
        raise UserError(f"{where}: no pictures in {path!r} or the folders below it")
    return found


def _check_classes(path: str, names: tuple[str, ...]) -> None:
    where = "config.data.source.path"
    if not names:
        count = len(pictures(Path(path), where).files)
        raise UserError(
            f"{where}: {path!r} has no class folders, but {counted(count, 'picture')}; want a folder for each "
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


def _joined(parts: Iterable[Walked]) -> Walked:
    files: list[Path] = []
    passed_over: Counter[str] = Counter()
    for part in parts:
        files += part.files
        passed_over += part.passed_over
    return Walked(files, passed_over)
