"""Finds the image files below a folder, and its class folders."""

import functools
import os
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from efficient_jax.data import class_names
from efficient_jax.errors import UserError

MORE = {".avif", ".heic", ".heics", ".heif", ".heifs", ".hif", ".mpo"}  # read by plugins, or as another format
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
REASONS = 8  # most reasons that a note lists


def check_folder(path: str, where: str) -> None:
    """Checks that a folder exists.

    Args:
        path: the folder.
        where: the setting that names it, for messages.

    Raises: UserError where it is no folder.
    """
    if "://" in path:
        raise UserError(
            f"{where}: {path!r} is in a store, where tar shards are read: pack the folder, see the source tar"
        )
    if not Path(path).is_dir():
        raise UserError(f"{where}: {path!r} is {'a file' if Path(path).exists() else 'not there'}; want a folder")


def class_folders(path: str, where: str) -> tuple[dict[str, list[Path]], Counter[str]]:
    """Returns the class folders in a folder, and how many other entries it has.

    Args:
        path: the folder.
        where: the setting that names it, for messages.

    Returns: (class name -> its folders, sorted by name; reason -> number of entries that are passed over).

    Raises: UserError where `path` is no folder.
    """
    check_folder(path, where)
    folders: dict[str, list[Path]] = {}
    passed_over: Counter[str] = Counter()
    for entry in sorted(Path(path).iterdir()):
        if not entry.is_dir():
            reason = _passed_over(entry.name)
            passed_over[reason or "beside the class folders"] += 1
        elif _is_system(entry.name):
            passed_over[f"folder {entry.name!r}"] += 1
        else:
            folders.setdefault(class_names.normal(entry.name), []).append(entry)
    return folders, passed_over


class Walked(NamedTuple):
    """Image files below a folder."""

    names: list[str]  # as text: half the memory of paths
    passed_over: Counter[str]  # reason -> number of files, or folders, that are left out

    @property
    def files(self) -> list[Path]:
        """The files as paths."""
        return [Path(name) for name in self.names]


def walk(folder: Path, where: str) -> Walked:
    """Returns the files below a folder whose suffix is that of an image, in an order that depends on their names only.

    Links to folders are followed. Hidden files and folders, and those of the system, are passed over.

    Args:
        folder: searched at any depth.
        where: the setting that names it, for messages.

    Raises: UserError for a folder that cannot be read, or a link that leads back to where it is.
    """
    names: list[str] = []
    passed_over: Counter[str] = Counter()
    root = str(folder)
    # (folder, its real path, real paths of the folders with the links to it)
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
                        names.append(entry.path)
    except OSError as error:
        raise UserError(f"{where}: cannot read {str(error.filename or root)!r}: {error.strerror}") from error
    names.sort(key=lambda name: name.replace(os.sep, "\0"))  # as paths are sorted, but faster
    return Walked(names, passed_over)


def _check_loop(link: str, target: str, through: tuple[str, ...], where: str) -> None:
    """Checks that none of the folders `through` which a walk came is the link's target, or below it."""
    if any(f"{folder}{os.sep}".startswith(f"{target.rstrip(os.sep)}{os.sep}") for folder in through):
        raise UserError(f"{where}: the link {link!r} leads back to {target!r}, in which it is itself; remove the link")


def _is_system(folder: str) -> bool:
    return folder.startswith(".") or folder.lower() in SYSTEM_FOLDERS  # copies of notebooks and viewers


def _passed_over(name: str) -> str:
    """Returns why a file is no image, by its name; "" where it is one."""
    if name.startswith("."):
        return "hidden"
    _, dot, end = name.rpartition(".")
    suffix = f".{end.lower()}"
    return "" if dot and suffix in suffixes() else suffix if dot else "without a suffix"


@functools.cache
def suffixes() -> frozenset[str]:
    """Returns the suffixes of files that Pillow can decode, in lower case, such as .jpg."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in known if kind in Image.OPEN and kind not in NO_PIXELS) | MORE


def note(passed_over: Counter[str]) -> tuple[str, ...]:
    """Returns a note on the files and folders that were passed over: how many for each reason; none where there are
    none.

    Args:
        passed_over: reason -> number.
    """
    if not passed_over:
        return ()
    ordered = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{count:,} {reason}" for reason, count in ordered[:REASONS])
    other_count = sum(count for _, count in ordered[REASONS:])
    others = f", {other_count:,} others" if other_count else ""
    return (f"files and folders that were passed over: {listed}{others}",)


def comparable(path: Path) -> str:
    """Returns a path by which files are found again, whatever normal form of Unicode their names have.

    Args:
        path: of a file.
    """
    return unicodedata.normalize("NFC", os.path.normpath(path))
