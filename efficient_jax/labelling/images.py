"""The images of a folder: a fixed list of names, and versions of them that a browser can show."""

import io
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from efficient_jax.data import decode, delimited, image_files, stored_image
from efficient_jax.data.class_names import writable
from efficient_jax.errors import UserError

SIZES = {"grid": 400, "one": 1200, "zoom": 2800}  # longest side in pixels
LOSSLESS = 300  # up to this side an image is sent as PNG: digits and icons show every pixel
QUALITY = 88  # of JPEG
MOST_BYTES = 500_000_000  # of a file
KEPT_BYTES = 64_000_000  # of encoded versions


class Images(NamedTuple):
    """Image files below a folder."""

    root: str  # the folder, without links
    names: tuple[str, ...]  # relative to it, with /

    def file(self, index: int) -> Path:
        """Returns the path of an image.

        Args:
            index: in 0..len(names) - 1.

        Raises: OSError where it is not a file, or lies outside of the folder by now.
        """
        path = os.path.realpath(os.path.join(self.root, self.names[index]))
        if not _inside(path, self.root):
            raise OSError("a link that leads out of the folder")
        if not os.path.isfile(path):
            raise OSError("not a file" if os.path.exists(path) else "not there")
        if os.path.getsize(path) > MOST_BYTES:
            raise OSError(f"more than {MOST_BYTES // 1_000_000} MB")
        return Path(path)


def listed(folder: str, where: str) -> tuple[Images, tuple[str, ...]]:
    """Returns the images below a folder, and notes on what is left out.

    Links that lead out of the folder are left out, and names that no table can hold.

    Args:
        folder: searched at any depth.
        where: the flag that names it, for messages.

    Raises: UserError where it is no folder or has no images.
    """
    image_files.check_folder(folder, where)
    walked = image_files.walk(Path(folder), where)
    root = os.path.realpath(folder)
    left_out = Counter(walked.passed_over)
    parents: dict[str, bool] = {}  # folder -> whether it is inside
    names = []
    for path in walked.names:
        name, parent = os.path.relpath(path, folder).replace(os.sep, "/"), os.path.dirname(path)
        if parent not in parents:
            parents[parent] = _inside(os.path.realpath(parent) + os.sep, root)
        if not parents[parent] or (os.path.islink(path) and not _inside(os.path.realpath(path), root)):
            left_out["links that lead out of the folder"] += 1
        elif writable(name) != name or delimited.CONTROL.search(name):
            left_out["with a name that is not UTF-8 text"] += 1
        else:
            names.append(name)
    if not names:
        raise UserError(f"{where}: no images in {folder!r} or the folders below it")
    return Images(root, tuple(names)), image_files.note(left_out)


def _inside(path: str, root: str) -> bool:
    return path.startswith(root.rstrip(os.sep) + os.sep)


def encoded(file: Path, side: int) -> tuple[bytes, str]:
    """Returns (an image that a browser can show, its media type): upright, in 8 bits, without metadata.

    Args:
        file: of any format that `data.decode` reads.
        side: longest side in pixels at most.

    Raises: any exception, as decoders do for damaged files.
    """
    return compressed(shrunk(file, side))


def shrunk(file: Path, side: int) -> Image.Image:
    """Returns an image upright, in 8 bits and three channels.

    Args:
        file: of any format that `data.decode` reads.
        side: longest side in pixels at most.

    Raises: any exception, as decoders do for damaged files.
    """
    image = stored_image.opened(file)
    image.draft(None, (side, side))  # a large JPEG is decoded at a smaller scale
    shown = Image.fromarray(stored_image.pixels(image, 3))
    shown.thumbnail((side, side))
    return shown


def compressed(shown: Image.Image) -> tuple[bytes, str]:
    """Returns (an image as a file for a browser, its media type).

    Args:
        shown: of three channels.
    """
    content = io.BytesIO()
    if max(shown.size) <= LOSSLESS:
        shown.save(content, "PNG")
        return content.getvalue(), "image/png"
    shown.save(content, "JPEG", quality=QUALITY)
    return content.getvalue(), "image/jpeg"


class Versions:
    """Encoded images, of which the last ones used are kept: at most `KEPT_BYTES`.

    Args:
        make: (index, side) -> (content, media type). As many run at once as there are cores.
    """

    def __init__(self, make: Callable[[int, int], tuple[bytes, str]]) -> None:
        self._make, self._mutex = make, threading.Lock()
        self._places = threading.BoundedSemaphore(decode.CORES)
        self._kept: OrderedDict[tuple[int, int], tuple[bytes, str]] = OrderedDict()
        self._bytes = 0

    def get(self, index: int, side: int) -> tuple[bytes, str]:
        """Returns (content, media type) of an image.

        Args:
            index: of the image.
            side: longest side in pixels at most.

        Raises: what `make` raises.
        """
        with self._places:
            with self._mutex:
                if (index, side) in self._kept:
                    self._kept.move_to_end((index, side))
                    return self._kept[index, side]
            version = self._make(index, side)
            with self._mutex:
                if (index, side) not in self._kept:
                    self._kept[index, side] = version
                    self._bytes += len(version[0])
                while self._bytes > KEPT_BYTES:
                    self._bytes -= len(self._kept.popitem(last=False)[1][0])
            return version
