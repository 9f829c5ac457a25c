"""Parquet files of encoded pictures, as Hugging Face's data sets store them."""

import glob
import json
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.data.decode import Framing, decode_all, listed
from efficient_jax.data.sources import Source, of_pictures
from efficient_jax.types import UserError


def parquet(
    *,
    path: str,
    size: int = 0,
    test_path: str = "",
    image: str = "",
    label: str = "",
    fit: str = "crop",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
) -> Source:
    """Files of one image column (encoded, alone or as {bytes, path}) and one of integer labels, null where none.

    `path` and `test_path` (whose images are the test images) name a file or, with *, several. `image` and `label`
    name the columns where they are not called image or img, and label. `size` 0 takes the images as they are stored,
    which must then all have one size; else see `efficient_jax.data.decode.fit`. The names of the classes come from
    the file where it has them.

    Raises: UserError for files, columns or labels that do not fit, and for an image that cannot be read.
    """
    pictures, labels, classes = _read(path, image, label, "config.data.source.path")
    tests = 0
    if test_path:
        test_pictures, test_labels, test_classes = _read(test_path, image, label, "config.data.source.test_path")
        if test_classes != classes:
            raise UserError(
                f"config.data.source.test_path: classes of {test_path!r} are {test_classes or 'without names'}, those "
                f"of {path!r} {classes or 'without names'}"
            )
        pictures, tests = pictures + test_pictures, len(test_pictures)
        labels = np.concatenate([labels, test_labels])
    classes = classes or tuple(str(number) for number in range(labels.max(initial=0) + 1))
    if labels.max(initial=-1) >= len(classes) or labels.min(initial=0) < -1:
        raise UserError(
            f"config.data.source.path: labels of {path!r} go from {labels.min()} to {labels.max()}, but there are "
            f"{len(classes)} classes; labels count from 0, and null or -1 is none"
        )

    def read(row: int) -> bytes:
        if not (content := pictures[row].as_py()):
            raise ValueError("no bytes, perhaps only a path")
        return content

    decoded = decode_all(read, len(pictures), Framing(size, fit, crop, interpolation, channels))
    if decoded.unreadable:
        failed = listed({f"row {row}": why for row, why in decoded.unreadable.items()})
        raise UserError(f"config.data.source.path: {path!r} has {failed}")
    return of_pictures(decoded, labels, classes, tests)


def _read(path: str, image: str, label: str, where: str) -> tuple[list[Any], np.ndarray, tuple[str, ...]]:
    """(encoded images, labels, names of the classes or ()) of the files that `path` names, in the order of names."""
    import pyarrow as pa  # a quarter of a second, which other sources need not pay
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    files = [path] if Path(path).is_file() else sorted(glob.glob(path, recursive=True))
    if not files:
        raise UserError(f"{where}: no file {path!r}; several are named with a *, such as data/train-*.parquet")
    try:
        schema = pq.read_schema(files[0])
        columns = [
            _column("image", image, ("image", "img"), schema.names, path),
            _column("label", label, ("label",), schema.names, path),
        ]
        table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: {path!r} is not parquet files of the same columns ({reason})") from error
    pictures, labels = table[columns[0]], table[columns[1]]
    if pa.types.is_struct(pictures.type) and pictures.type.get_field_index("bytes") >= 0:
        pictures = pc.struct_field(pictures, "bytes")
    for column, kind, fits, wanted in (
        (columns[0], pictures.type, pa.types.is_binary(pictures.type), "encoded images (binary)"),
        (columns[1], labels.type, pa.types.is_integer(labels.type), "integers"),
    ):
        if not (fits or pa.types.is_large_binary(kind)):
            raise UserError(f"{where}: column {column!r} of {path!r} holds {kind}; want {wanted}")
    known = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = known.get("info", {}).get("features", {}).get(columns[1], {}).get("names", ())
    return list(pictures), pc.fill_null(labels.cast(pa.int64()), -1).to_numpy(), tuple(names)


def _column(role: str, name: str, usual: tuple[str, ...], names: list[str], path: str) -> str:
    """The column called `name`, or, where that is "", the first of the `usual` ones."""
    found = [each for each in ((name,) if name else usual) if each in names]
    if not found:
        raise UserError(
            f"config.data.source.{role}: {path!r} has no column {name or ' or '.join(usual)}; it has {', '.join(names)}"
        )
    return found[0]
