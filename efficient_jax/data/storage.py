"""Files by a pattern of names, on disks or in stores that fsspec reads (s3://, gs://, ...), and parts of them."""

import glob
import os
import re
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from efficient_jax.data.stored_image import reason
from efficient_jax.errors import UserError, counted, few

BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
SEVERAL = "several are named with a *, such as data/train-*.{ending}, or with data/train-{{000..146}}.{ending}"
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "hf": "huggingface_hub"}
PACKAGES |= {"http": "aiohttp", "https": "aiohttp"}
STATES = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "mtime", "created")
AHEAD = 2**18  # bytes that are requested at least where a remote file is read from its begin to its end
ASKED = 16  # files whose state is asked for at once
OPEN = 256  # files that stay open; many systems allow a process 1,024


class Stored(NamedTuple):
    """A file on a disk or in a store."""

    name: str  # path or URL
    size: int  # in bytes
    state: str  # another one after the file has changed
    store: Any = None  # file system of fsspec; None: a disk

    def open(self, ahead: int = AHEAD) -> Any:
        """Returns the file, open for reading in binary mode.

        Args:
            ahead: of a remote file, bytes that are requested beyond those asked for, 0 or more.

        Raises: OSError, or what a store raises, where it cannot be opened.
        """
        if self.store is None:
            return Path(self.name).open("rb")
        return self.store.open(self.name, "rb", block_size=ahead, cache_type="readahead")


def find(pattern: str, where: str, ending: str) -> list[Stored]:
    """Returns the files that a pattern names.

    Args:
        pattern: a file, or several: with *, ? or [ ] (in the order of their names), {000..146} or {a,b}. A URL such as
            s3://bucket/a.tar is read by fsspec.
        where: the setting that names it, for messages.
        ending: usual suffix of such files, for messages.

    Raises: UserError where one is not there, and for a store that cannot be reached.
    """
    store = _store(pattern, where) if "://" in pattern else None
    try:
        asked = [pattern] if store is None and os.path.isfile(pattern) else alternatives(pattern)
        with ThreadPoolExecutor(ASKED) as pool:
            matches = list(pool.map(lambda each: _matching(each, store), asked))
    except Exception as error:  # a store may raise anything
        raise UserError(f"{where}: {pattern!r} cannot be read ({reason(error)})") from error
    missing = [repr(each) for each, files in zip(asked, matches, strict=True) if not files]
    if missing and len(missing) < len(asked):
        raise UserError(f"{where}: {len(missing):,} of {counted(len(asked), 'file')} are not there: {few(missing)}")
    if missing:
        raise UserError(f"{where}: no file {pattern!r}; {SEVERAL.format(ending=ending)}")
    return list({file.name: file for files in matches for file in files}.values())


def alternatives(pattern: str) -> list[str]:
    """Returns what a pattern with braces stands for: x{08..10} for x08, x09 and x10, {a,b} for a and b.

    Args:
        pattern: with any number of braces.
    """
    if not (match := BRACES.search(pattern)):
        return [pattern]
    first, last, names = match.groups()
    if names is not None:
        parts = names.split(",")
    else:
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        parts = [f"{number:0{width}}" for number in range(int(first), int(last) + 1)]
    rests = alternatives(pattern[match.end() :])
    return [pattern[: match.start()] + part + rest for part in parts for rest in rests]


def dependence(files: Sequence[Stored]) -> tuple[list[Path], str]:
    """Returns what a cache of files depends on: (those on disks, the names and states of the others as text).

    Args:
        files: those that are read.
    """
    remote = [f"{file.name} {file.size} {file.state}" for file in files if file.store is not None]
    return [Path(file.name) for file in files if file.store is None], "\n".join(remote)


def beside(file: Stored, name: str) -> bytes:
    """Returns the content of the file with another name beside a file, empty where there is none.

    Args:
        file: the file.
        name: of the other one.

    Raises: OSError, or what a store raises, where it cannot be read.
    """
    other = file.name.rpartition("/")[0] + f"/{name}" if file.store else str(Path(file.name).with_name(name))
    try:
        content: bytes = file.store.cat_file(other) if file.store else Path(other).read_bytes()
    except FileNotFoundError:
        return b""
    return content


class Parts:
    """Reads parts of files, from any thread: of a disk by one `pread`, of a store by one request."""

    def __init__(self, files: Sequence[Stored]) -> None:
        self.files = files
        self._opened: dict[int, int] = {}  # index -> descriptor
        weakref.finalize(self, _close, self._opened)

    def read(self, index: int, start: int, size: int) -> bytes:
        """Returns bytes of a file, fewer where it ends before.

        Args:
            index: of the file.
            start: position of the first byte, 0 or more.
            size: number of bytes, 0 or more.

        Raises: OSError, or what a store raises, where they cannot be read.
        """
        file = self.files[index]
        if file.store is not None:
            content: bytes = file.store.cat_file(file.name, start=start, end=start + size) if size else b""
            return content
        if (descriptor := self._opened.get(index)) is not None:
            return os.pread(descriptor, size, start)
        descriptor = os.open(file.name, os.O_RDONLY)
        try:
            return os.pread(descriptor, size, start)
        finally:
            if len(self._opened) >= OPEN or self._opened.setdefault(index, descriptor) != descriptor:
                os.close(descriptor)


def _close(descriptors: dict[int, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)


def _store(url: str, where: str) -> Any:
    """Returns the file system of a URL."""
    protocol = url.partition("://")[0]
    packages = " ".join(filter(None, ("fsspec", PACKAGES.get(protocol))))
    try:
        import fsspec

        store, _ = fsspec.core.url_to_fs(url)
        store.invalidate_cache()  # what an earlier run of this process has listed
    except ImportError as error:
        raise UserError(f"{where}: {url!r} wants pip install {packages} ({reason(error)})") from error
    except Exception as error:  # an unknown protocol, or a store that cannot be reached
        raise UserError(f"{where}: {url!r} cannot be read ({reason(error)})") from error
    return store


def _matching(pattern: str, store: Any) -> list[Stored]:
    """Returns the files of a pattern without braces, in the order of their names."""
    several = glob.has_magic(pattern) and not (store is None and os.path.isfile(pattern))
    if store is None:
        paths = sorted(map(Path, glob.glob(pattern, recursive=True))) if several else [Path(pattern)]
        statuses = [(str(path), path.stat()) for path in paths if path.is_file()]
        return [Stored(name, status.st_size, str(status.st_mtime_ns)) for name, status in statuses]
    try:
        matches = store.glob(pattern, detail=True) if several else {pattern: store.info(pattern)}
    except FileNotFoundError:
        return []
    described = [(store.unstrip_protocol(name), about) for name, about in sorted(matches.items())]
    return [
        Stored(name, about["size"], str(next((about[key] for key in STATES if about.get(key)), "")), store)
        for name, about in described
        if about["type"] == "file"
    ]
