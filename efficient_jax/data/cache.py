"""Caches decoded images on disk, so that another run on the same files need not decode them again."""

import functools
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL

from efficient_jax.data import decode, framing, stored_image, thumbnails
from efficient_jax.data.decode import Decoded
from efficient_jax.data.framing import Framing
from efficient_jax.data.stored_image import ImageLike
from efficient_jax.distributed import log
from efficient_jax.errors import counted
from efficient_jax.files import whole

FOLDER = "decoded_images"
THREADS, PART = 16, 4096  # that ask for the states of files, and files that one asks for at once
WORTH = 2.0  # seconds of decoding; what took less is not cached


def decode_all(
    read: Callable[[int], ImageLike],
    count: int,
    framing: Framing,
    cache: Path | None,
    files: Sequence[Path | str],
    about: str,
) -> Decoded:
    """Returns `decode.decode_all` of the images, from the cache where it has them.

    An entry belongs to the names, sizes and times of `files`, to `framing` and `about`, and to the code and the Pillow
    that decoded. Only what took over two seconds is cached. Nothing there is ever removed; all of it may be.

    Args:
        read: returns the image of an index: a file, its content, or pixels.
        count: number of images.
        framing: how images become one size.
        cache: folder of the cache; None: no cache.
        files: files that `read` reads.
        about: what `read` takes from them.

    Raises: UserError for an unknown framing, and for images that do not fit into memory.
    """
    if cache is None:
        return decode.decode_all(read, count, framing)
    file = cache / f"{key(files, f'{framing} {about}')}.npz"
    if (cached := _read(file)) and not mended(read, cached.unreadable, framing):
        return cached
    started = time.perf_counter()
    decoded = decode.decode_all(read, count, framing)
    if time.perf_counter() - started > WORTH:
        _write(file, decoded)
    return decoded


def key(files: Sequence[Path | str], asked: str) -> str:
    """Returns the name of a cache entry, 16 hex digits.

    Args:
        files: files that the entry depends on, by their names, sizes and times.
        asked: what else it depends on, as text.
    """
    digest = hashlib.sha256()
    for module in (decode, framing, stored_image, thumbnails):  # code that decides which pixels come out
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(f"{PIL.__version__} {asked}".encode())
    with ThreadPoolExecutor(THREADS) as pool:  # a file system over a network answers many at once
        for states in pool.map(_states, (files[i : i + PART] for i in range(0, len(files), PART))):
            digest.update(states)
    return digest.hexdigest()[:16]


def _states(files: Sequence[Path | str]) -> bytes:
    """Returns the absolute names, sizes and times of files, a line for each."""
    absolute = functools.cache(lambda folder: os.path.join(os.path.abspath(folder), ""))
    lines = []
    for file in map(str, files):
        try:
            status = os.stat(file)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "not there"
        name = file.rpartition(os.sep)[2]
        lines.append(f"\n{absolute(file[: len(file) - len(name)])}{name} {state}")
    return "".join(lines).encode(errors="surrogateescape")


def _read(file: Path) -> Decoded | None:
    """Returns an entry; None where there is none, or a damaged one: the checksums of zip are compared."""
    if not file.is_file():
        return None
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            unreadable, notes = json.loads(str(arrays["about"]))
            images, rows, *metadata = (arrays[name] for name in ("images", "rows", "sizes", "contents"))
            return Decoded(images, rows, {int(row): why for row, why in unreadable.items()}, notes, *metadata)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log(f"{file} is damaged ({error}): the images are decoded again")
        return None


def mended(read: Callable[[int], ImageLike], unreadable: Mapping[int, str], framing: Framing) -> bool:
    """Returns whether an image that could not be read now can, for example with a package that is now installed.

    Args:
        read: returns the image of an index: a file, its content, or pixels.
        unreadable: index -> reason, of the images that are tried again.
        framing: how images become one size.
    """
    rows = list(unreadable)
    return bool(rows) and len(decode.decode_all(lambda i: read(rows[i]), len(rows), framing).rows) > 0


def _write(file: Path, decoded: Decoded) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file) as stream:
            about = json.dumps([decoded.unreadable, decoded.notes])
            images, rows, _, _, sizes, contents = decoded
            np.savez(stream, images=images, rows=rows, sizes=sizes, contents=contents, about=np.array(about))
    except OSError as error:
        log(f"decoded images are not kept in {file.parent}: {error.strerror}")
    else:
        kept = counted(len(decoded.images), "decoded image is", "decoded images are")
        log(f"{kept} kept in {file} for the next run")
