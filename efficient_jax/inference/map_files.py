"""Maps of the class of each pixel as files of other programs: a folder with a .png or .npz for each image."""

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from efficient_jax.errors import UserError
from efficient_jax.metrics.classification import NOT_COUNTED

SUFFIXES = (".png", ".npz")


def files(folder: Path, where: str) -> dict[str, Path]:
    """Returns name without suffix -> file, of the maps in `folder`. Raises: UserError naming `where` for none."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES] if folder.is_dir() else []
    named = {path.stem: path for path in found}
    if len(named) < len(found):
        raise UserError(f"{where}: {str(folder)!r} has two maps of one name; want one .png or .npz for each image")
    if not found:
        raise UserError(f"{where}: no .png or .npz in {str(folder)!r}; want a folder with a map for each image")
    return named


def read(path: Path, where: str) -> Int[np.ndarray, "h w"] | Float[np.ndarray, "h w classes"]:
    """Returns the map in a file: classes, int [h w], of a grey or palette .png or an .npz; or the probabilities of an
    .npz, float [h w classes]. An .npz has one array.

    Raises: UserError naming `where` for a file that cannot be read or holds something else.
    """
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
