"""Which files below a folder are pictures, and which of its folders are classes."""

import functools
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from efficient_jax.data import class_names
from efficient_jax.errors import UserError

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


def check_folder(path: str, where: str) -> None:
    if not Path(path).is_dir():
        raise UserError(f"{where}: {path!r} is {'a file' if Path(path).exists() else 'not there'}; want a folder")


def class_folders(path: str, where: str) -> tuple[dict[str, list[Path]], Counter[str]]:
    """(the folders in the folder `path` by class name, what is passed over there)."""
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


def note(passed_over: Counter[str]) -> tuple[str, ...]:
    """Says which files and folders were passed over: how many for each reason."""
    if not passed_over:
        return ()
    ordered = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{count:,} {reason}" for reason, count in ordered[:REASONS])
    more = sum(count for _, count in ordered[REASONS:])
    others = f", {more:,} others" if more else ""
    return (f"files and folders that were passed over: {listed}{others}",)
