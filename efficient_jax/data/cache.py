"""Decoded pictures on disk, so that another run on the same files need not decode them again."""

import contextlib
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL
from rich import get_console

from efficient_jax.data import decode, framing
from efficient_jax.data.decode import Decoded, Picture
from efficient_jax.data.framing import Framing
from efficient_jax.errors import counted
from efficient_jax.files import whole

FOLDER = "decoded_pictures"
WORTH = 2.0  # seconds of decoding; for less no file is written


def decode_all(
    read: Callable[[int], Picture], count: int, framing: Framing, cache: Path | None, files: Sequence[Path], about: str
) -> Decoded:
    """As `decode.decode_all`; what took over two seconds is in the folder `cache` the next time (None: nowhere).

    What is there belongs to the names, sizes and times of `files`, to `framing`, to `about`, which says what `read`
    takes from them, and to the code and the Pillow that decoded. Nothing there is ever removed; all of it may be.
    """
    if cache is None:
        return decode.decode_all(read, count, framing)
    file = cache / f"{key(files, f'{framing} {about}')}.npz"
    if (found := _read(file)) and not mended(read, found.unreadable, framing):
        return found
    started = time.perf_counter()
    found = decode.decode_all(read, count, framing)
    if time.perf_counter() - started > WORTH:
        _write(file, found)
    return found


def key(files: Sequence[Path], asked: str) -> str:
    digest = hashlib.sha256(Path(decode.__file__).read_bytes() + Path(framing.__file__).read_bytes())
    digest.update(f"{PIL.__version__} {asked}".encode())
    for file in files:
        found = "not there"
        with contextlib.suppress(OSError):
            status = os.stat(file)
            found = f"{status.st_size} {status.st_mtime_ns}"
        digest.update(f"\n{os.path.abspath(file)} {found}".encode())
    return digest.hexdigest()[:16]


def _read(file: Path) -> Decoded | None:
    """None where there is none, or a damaged one: the checksums of zip are compared."""
    if not file.is_file():
        return None
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            unreadable, notes = json.loads(str(arrays["about"]))
            images, rows, *beside = (arrays[name] for name in ("images", "rows", "sizes", "contents"))
            return Decoded(images, rows, {int(row): why for row, why in unreadable.items()}, notes, *beside)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        say(f"{file} is damaged ({error}): the pictures are decoded again")
        return None


def mended(read: Callable[[int], Picture], unreadable: Mapping[int, str], framing: Framing) -> bool:
    """Whether a picture that could not be read now can: with a package that was not there, say."""
    rows = list(unreadable)
    return bool(rows) and len(decode.decode_all(lambda i: read(rows[i]), len(rows), framing).rows) > 0


def _write(file: Path, found: Decoded) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file) as stream:
            about = json.dumps([found.unreadable, found.notes])
            images, rows, _, _, sizes, contents = found
            np.savez(stream, images=images, rows=rows, sizes=sizes, contents=contents, about=np.array(about))
    except OSError as error:
        say(f"decoded pictures are not kept in {file.parent}: {error.strerror}")
    else:
        kept = counted(len(found.images), "decoded picture is", "decoded pictures are")
        say(f"{kept} kept in {file} for the next run")


def say(line: str) -> None:
    get_console().print(line, markup=False, highlight=False, soft_wrap=True)
