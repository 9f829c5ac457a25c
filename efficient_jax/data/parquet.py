"""Parquet files of encoded pictures, as Hugging Face's data sets store them."""

import glob
import json
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.data import stream
from efficient_jax.data.decode import Framing, left_out
from efficient_jax.data.sources import Source, of_pictures
from efficient_jax.types import UserError

USUAL = {"image": ("image", "img"), "label": ("label",)}


def parquet(
    *,
    path: str,
    size: int = 0,
    test_path: str = "",
    unlabelled_path: str = "",
    image: str = "",
    label: str = "",
    fit: str = "crop",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    unreadable: int = 0,
    feed: stream.Feed = stream.IN_MEMORY,
) -> Source:
    """Files of one image column (encoded, alone or as {bytes, path}) and one of integer labels, null where none.

    `path`, `test_path` (whose images are the test images) and `unlabelled_path` (whose labels, if any, are not read)
    name a file or, with *, several. `image` and `label` name the columns where they are not called image or img, and
    label. `size` 0 takes the images as they are stored, which must then all have one size; else see
    `efficient_jax.data.decode.place`. The names of the classes come from the file where it has them. Up to `unreadable`
    images that cannot be read are left out, and listed. `feed`: see `efficient_jax.data.stream`.

    Raises: UserError for files, columns or labels that do not fit, and for too many images that cannot be read.
    """
    columns = {"image": image, "label": label}
    pictures, labels, classes = _read(path, columns, "config.data.source.path")
    if unlabelled_path:
        more, none, _ = _read(unlabelled_path, {"image": image}, "config.data.source.unlabelled_path")
        if not more:
            raise UserError(f"config.data.source.unlabelled_path: no images in {unlabelled_path!r}")
        pictures, labels = _joined(pictures, more), np.concatenate([labels, none])
    tests = 0
    if test_path:
        test_pictures, test_labels, test_classes = _read(test_path, columns, "config.data.source.test_path")
        if test_classes != classes:
            raise UserError(
                f"config.data.source.test_path: classes of {test_path!r} are {test_classes or 'without names'}, those "
                f"of {path!r} {classes or 'without names'}"
            )
        pictures, tests = _joined(pictures, test_pictures), len(test_pictures)
        labels = np.concatenate([labels, test_labels])
    classes = classes or tuple(str(number) for number in range(labels.max(initial=0) + 1))
    if labels.max(initial=-1) >= len(classes) or labels.min(initial=0) < -1:
        raise UserError(
            f"config.data.source.path: labels of {path!r} go from {labels.min()} to {labels.max()}, but there are "
            f"{len(classes)} classes; labels count from 0, and null or -1 is none"
        )

    feed.labelled(labels, classes, tests)

    def read(row: int) -> bytes:
        if not (content := pictures[row].as_py()):
            raise ValueError("no bytes, perhaps only a path")
        return content

    framing = Framing(size, fit, crop, interpolation, channels)
    files = [file for each in (path, unlabelled_path, test_path) for file in _files(each)]
    decoded = stream.pictures(read, lambda row: f"row {row} of {path!r}", len(pictures), framing, feed, files, image)
    decoded = left_out(decoded, lambda row: f"row {row}", unreadable, f"config.data.source.path: {path!r}")
    return of_pictures(decoded, labels, classes, tests)


def _files(path: str) -> list[Path]:
    return [Path(path)] if Path(path).is_file() else sorted(map(Path, glob.glob(path, recursive=True)))


def _joined(first: Any, second: Any) -> Any:
    import pyarrow as pa

    return pa.chunked_array([*first.chunks, *second.chunks])


def _read(path: str, columns: dict[str, str], where: str) -> tuple[Any, np.ndarray, tuple[str, ...]]:
    """(encoded images, labels, names of the classes or ()) of the files that `path` names, in the order of names.

    `columns` says of "image" and "label" what the column is called, or ""; without "label" all labels are -1.
    """
    import pyarrow as pa  # a quarter of a second, which other sources need not pay
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not (files := _files(path)):
        raise UserError(f"{where}: no file {path!r}; several are named with a *, such as data/train-*.parquet")
    try:
        schema = pq.read_schema(files[0])
        names = {role: _column(role, name, schema.names, path) for role, name in columns.items()}
        table = pa.concat_tables([pq.read_table(file, columns=list(names.values())) for file in files])
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: {path!r} is not parquet files of the same columns ({reason})") from error
    pictures = table[names["image"]]
    if pa.types.is_struct(pictures.type) and pictures.type.get_field_index("bytes") >= 0:
        pictures = pc.struct_field(pictures, "bytes")
    if not (pa.types.is_binary(pictures.type) or pa.types.is_large_binary(pictures.type)):
        raise UserError(
            f"{where}: column {names['image']!r} of {path!r} holds {pictures.type}; want encoded images (binary)"
        )
    pictures = pictures.cast(pa.large_binary())
    if "label" not in names:
        return pictures, np.full(len(pictures), -1), ()
    labels = table[names["label"]]
    if not pa.types.is_integer(labels.type):
        raise UserError(f"{where}: column {names['label']!r} of {path!r} holds {labels.type}; want integers")
    known = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    classes = known.get("info", {}).get("features", {}).get(names["label"], {}).get("names", ())
    return pictures, pc.fill_null(labels.cast(pa.int64()), -1).to_numpy(), tuple(classes)


def _column(role: str, name: str, names: list[str], path: str) -> str:
    """The column called `name`, or, where that is "", the first of the usual ones."""
    found = [each for each in ((name,) if name else USUAL[role]) if each in names]
    if not found:
        raise UserError(
            f"config.data.source.{role}: {path!r} has no column {name or ' or '.join(USUAL[role])}; it has "
            f"{', '.join(names)}"
        )
    return found[0]
