"""Reads and writes segmentation maps: a folder with a .png or .npz for each image."""

import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Integer, UInt8
from PIL import Image

from efficient_jax.errors import UserError
from efficient_jax.files import write_bytes
from efficient_jax.metrics.classification import NOT_COUNTED

SUFFIXES = (".png", ".npz")


def files(folder: Path, where: str) -> dict[str, Path]:
    """Returns the files of the maps below a folder by their paths in it, without suffix.

    Args:
        folder: has a .png or .npz for each image, at any depth.
        where: what an error names.

    Raises: UserError for a folder without maps, and for two maps of one name.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES] if folder.is_dir() else []
    named = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}
    if len(named) < len(paths):
        raise UserError(f"{where}: {str(folder)!r} has two maps of one name; want one .png or .npz for each image")
    if not paths:
        raise UserError(f"{where}: no .png or .npz in {str(folder)!r}; want a folder with a map for each image")
    return named


def read(path: Path, where: str) -> Int[np.ndarray, "h w"] | Float[np.ndarray, "h w classes"]:
    """Reads a map: a class or the probabilities of all classes for each pixel.

    Args:
        path: a gray or palette .png with classes, or an .npz with one array of classes or probabilities.
        where: what an error names.

    Returns: classes, int32 [h w], or probabilities, float [h w classes].

    Raises: UserError for a file that cannot be read or holds something else.
    """
    values: np.ndarray
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                (values,) = arrays.values()
        else:
            with Image.open(path) as image:
                if image.mode not in ("1", "L", "P"):
                    raise ValueError(f"its pixels are {image.mode}; want 8-bit numbers of classes")
                values = np.asarray(image).astype(np.uint8)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        what = "it has not exactly one array" if "unpack" in str(error) else str(error)
        raise UserError(f"{where}: cannot read {str(path)!r}: {what}") from error
    if values.ndim == 2 and values.dtype.kind in "iub":
        if values.size and not 0 <= values.min() <= values.max() <= NOT_COUNTED:
            raise UserError(f"{where}: {str(path)!r} has classes {values.min()} to {values.max()}; want 0..254")
        return values.astype(np.int32)
    if values.ndim != 3 or values.dtype.kind != "f":
        raise UserError(
            f"{where}: {str(path)!r} holds {values.dtype} {list(values.shape)}; want classes, integers [h w], or "
            "probabilities, floats [h w classes]"
        )
    sums = values.sum(-1, dtype=np.float64)
    if not ((values >= 0).all() and (np.abs(sums - 1) <= 1e-3).all()):
        raise UserError(f"{where}: {str(path)!r} holds no probabilities: want 0..1 with sum 1 at each pixel")
    return values


def write(path: Path, classes: Integer[np.ndarray, "h w"]) -> None:
    """Writes a map as a PNG file with the colors of Pascal VOC; its values are the classes.

    `read` and the source `masks` read it.

    Args:
        path: the .png file; its folder is made.
        classes: index of the class of each pixel in 0..254, 255 where it has none.

    Raises: UserError for other values, OSError where the file cannot be written.
    """
    if classes.size and not 0 <= classes.min() <= classes.max() <= NOT_COUNTED:
        raise UserError(f"{path}: classes {classes.min()} to {classes.max()}; want 0..254, and 255 for none")
    image = Image.fromarray(classes.astype(np.uint8))
    image.putpalette(palette().tobytes())
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())


def palette() -> UInt8[np.ndarray, "256 3"]:
    """Returns the colors of Pascal VOC: bits 0, 3 and 6 of a class are the highest bits of red, 1, 4 and 7 those of
    green, 2 and 5 those of blue.
    """
    index = np.arange(256)[:, None]
    bits = sum((index >> (3 * place + np.arange(3)) & 1) << (7 - place) for place in range(3))
    return np.asarray(bits, np.uint8)
