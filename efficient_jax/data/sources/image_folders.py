"""Image files in one folder for each class."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from efficient_jax.data import class_names, stream
from efficient_jax.data.dataset import Source, last_test, of_images
from efficient_jax.data.decode import left_out
from efficient_jax.data.framing import Framing
from efficient_jax.data.image_files import Walked, check_folder, class_folders, note, walk
from efficient_jax.errors import UserError, counted, nearest

TRAIN = ("train", "training")
TEST = ("test", "testing", "validation", "valid", "val")
PARTS = {*TRAIN, *TEST}
"""Names of folders, in lower case, that are parts of a dataset and no classes."""


def folder(
    feed: stream.Feed = stream.IN_MEMORY,
    *,
    path: str,
    size: int,
    test_path: str = "",
    unlabelled_path: str = "",
    classes: tuple[str, ...] = (),
    fit: str = "crop",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    draft: bool = False,
    unreadable: int = 0,
) -> Source:
    """Returns the images of a folder with one folder for each class.

    For example `path/cat/1.jpg`, `path/dog/any/where/2.png`, and `path/unlabelled/3.jpg` for an unlabelled image.
    Classes are in the order of their names. Folders named as in `data.class_names.NO_LABEL` hold unlabelled images.

    Args:
        feed: whether images are decoded once or on access, see `data.stream.Feed`; no config key of the source.
        path: the folder of the class folders.
        size: side of the square images, in pixels; 0: as they are stored, which must then be one size for all.
        test_path: folder with the same class folders, of the test images; "": the test set is drawn.
        unlabelled_path: folder of more, unlabelled images, at any depth; "": none.
        classes: names of the classes where no image of `path` is labelled, at any depth; (): those of its folders.
        fit: how an image becomes a square: "crop" (its middle), "squash" or "pad"; see `data.framing.place`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: antialiasing filter of the resize, "bilinear" or "bicubic".
        channels: 3 (color) or 1 (gray).
        draft: whether JPEGs of twice the size and more are decoded at a reduced scale: faster, slightly inexact.
        unreadable: up to so many images that cannot be read are left out and listed; more are an error.

    Returns: a dataset with the images of `path`, `unlabelled_path` and `test_path`, in this order.

    Raises: UserError for folders laid out in another way, too many unreadable images, and unknown settings.
    """
    where = "config.data.source.path"
    folders, passed_over = class_folders(path, where)
    names = tuple(name for name in sorted(folders) if not class_names.is_no_label(name))
    parts, unlabelled_names = [], []
    if classes:
        _check_names(path, names, classes)
        names, folders = tuple(map(class_names.normal, classes)), {}
        passed_over.clear()  # files beside class folders: all are walked
        parts.append((-1, _unlabelled(path, where)))
    else:
        _check_classes(path, names)
    for name in (*names, *sorted(folders.keys() - {*names})) if folders else ():
        walked = _joined(walk(folder, where) for folder in folders[name])
        if name in names and not walked.names:
            raise UserError(f"{where}: class {name!r} has no images in {str(folders[name][0])!r}")
        parts.append((names.index(name) if name in names else -1, walked))
        unlabelled_names += [] if name in names else [name] * len(walked.names)
    if unlabelled_path:
        parts.append((-1, _unlabelled(unlabelled_path, "config.data.source.unlabelled_path")))
    tests = []
    if test_path:
        test_folders, test_passed_over = class_folders(test_path, "config.data.source.test_path")
        passed_over += test_passed_over
        for name in sorted(test_folders):
            if name not in names:
                raise UserError(
                    f"config.data.source.test_path: class {name!r} is not in {path!r}{nearest(name, names)}"
                )
            walks = (walk(folder, "config.data.source.test_path") for folder in test_folders[name])
            tests.append((names.index(name), _joined(walks)))
        if not any(walked.names for _, walked in tests):
            raise UserError(f"config.data.source.test_path: no images in the folders of {test_path!r}")
    files = [file for _, walked in parts + tests for file in walked.names]
    labels = np.repeat([label for label, _ in parts + tests], [len(walked.names) for _, walked in parts + tests])
    fixed = last_test(len(labels), sum(len(walked.names) for _, walked in tests))
    feed.labelled(labels, names, fixed)
    framing = Framing(size, fit, crop, interpolation, channels, draft)
    file_names = [class_names.writable(file) for file in files]

    def read(row: int) -> Path:
        return Path(files[row])

    decoded = stream.load(read, file_names.__getitem__, len(files), framing, feed, files, "", each_own=True)
    decoded = left_out(decoded, file_names.__getitem__, unreadable, where)
    source = of_images(decoded, labels, names, fixed, file_names)
    passed_over += _joined(walked for _, walked in parts + tests).passed_over
    notes = *class_names.note(unlabelled_names, len(files)), *note(passed_over)
    return source._replace(notes=(*source.notes, *notes))


def _check_names(path: str, folders: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Checks the names of classes of which no image is labelled."""
    where = "config.data.source.classes"
    class_names.check_classes(classes, where)
    if len(classes) < 2:
        raise UserError(f"{where}: {list(classes)} is one class only; want two or more")
    if labelled := [name for name in folders if name in classes]:
        raise UserError(
            f"{where}: {path!r} has a folder {labelled[0]!r}, whose images have that label; leave {where} out, and "
            "the classes are the folders"
        )


def _unlabelled(path: str, where: str) -> Walked:
    check_folder(path, where)
    if not (walked := walk(Path(path), where)).names:
        raise UserError(f"{where}: no images in {path!r} or the folders below it")
    return walked


def _check_classes(path: str, names: tuple[str, ...]) -> None:
    where = "config.data.source.path"
    if not names:
        count = len(walk(Path(path), where).names)
        raise UserError(
            f"{where}: {path!r} has no class folders, but {counted(count, 'image')}; want a folder for each "
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
    names: list[str] = []
    passed_over: Counter[str] = Counter()
    for part in parts:
        names += part.names
        passed_over += part.passed_over
    return Walked(names, passed_over)
