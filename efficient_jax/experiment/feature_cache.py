"""Caches features of images on disk by content, so that another head on the same images and weights takes a second.

A file belongs to one network: its weights and how its images are prepared. It has a row for each image, found by the
hash of its content, so that runs with other splits share it.
"""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from efficient_jax.errors import counted
from efficient_jax.files import whole

FOLDER = "features"
MOST = 2**30  # bytes of all files; the ones that were used longest ago are removed
CONTENTS = "contents"

Pools = dict[str, np.ndarray]
"""Pool -> features [n d], see `models.heads.features`."""


def read(file: Path, say: Callable[[str], None]) -> tuple[list[str], Pools]:
    """Returns (contents of images, their features) of a file, empty where there is none or a damaged one.

    Args:
        file: as from `file_of`.
        say: shows a line on a damaged file.
    """
    if not file.is_file():
        return [], {}
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            pools = {name: arrays[name] for name in arrays.files if name != CONTENTS}
            contents = arrays[CONTENTS].tolist()
        if any(len(values) != len(contents) or not np.isfinite(values).all() for values in pools.values()):
            raise ValueError("rows are missing or not finite")
        file.touch()  # used last
        return contents, pools
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        say(f"{file} is damaged ({error}): features are computed again")
        return [], {}


def known(contents: Sequence[str], file: Path, say: Callable[[str], None]) -> Pools | None:
    """Returns the features of images from a file; None unless it has all of them.

    Args:
        contents: of the images, see `dataset.contents`.
        file: as from `file_of`.
        say: shows a line on what was read.
    """
    stored, pools = read(file, say)
    rows = {content: row for row, content in enumerate(stored)}
    if not contents or not all(content in rows for content in contents):
        return None
    say(f"features of {counted(len(contents), 'image')} are read from {file} ({_megabytes(file)})")
    index = [rows[content] for content in contents]
    return {name: values[index] for name, values in pools.items()}


def keep(contents: Sequence[str], pools: Pools, file: Path, say: Callable[[str], None]) -> None:
    """Adds features of images to a file. Where all files would take more than `MOST` bytes, old ones are removed.

    Args:
        contents: of the images.
        pools: their features.
        file: as from `file_of`.
        say: shows a line on what was written.
    """
    before, stored = read(file, say)
    if stored.keys() == pools.keys():
        fresh = set(contents)
        kept = [row for row, content in enumerate(before) if content not in fresh]
        pools = {name: np.concatenate([stored[name][kept], values]) for name, values in pools.items()}
        contents = [*(before[row] for row in kept), *contents]
    size = sum(values.nbytes for values in pools.values())
    if size > MOST:
        say(f"features are not kept in {file.parent}: {size / 1e6:,.0f} MB are more than {MOST / 1e6:,.0f}")
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        others = [(other.stat().st_mtime, other) for other in file.parent.glob("*.npz") if other != file]
        room = MOST - size
        for _, other in sorted(others, reverse=True):
            room -= other.stat().st_size
            if room < 0:
                other.unlink(missing_ok=True)
        with whole(file) as stream:
            np.savez(stream, **{CONTENTS: np.array(contents)}, **pools)  # type: ignore[arg-type]
    except OSError as error:
        say(f"features are not kept in {file.parent}: {error.strerror}")
    else:
        say(f"features of {counted(len(contents), 'image')} are kept in {file} ({_megabytes(file)})")


def _megabytes(file: Path) -> str:
    return f"{file.stat().st_size / 1e6:,.1f} MB" if file.is_file() else "of another process"
