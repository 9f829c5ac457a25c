"""Parquet files of encoded images, as Hugging Face's datasets store them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.data import storage, stream
from efficient_jax.data.class_names import check_classes, in_order, is_no_label, normal, of_array
from efficient_jax.data.dataset import Source, last_test, of_images
from efficient_jax.data.decode import left_out
from efficient_jax.data.framing import Framing
from efficient_jax.data.storage import Stored
from efficient_jax.data.stored_image import reason
from efficient_jax.errors import UserError

USUAL = {"image": ("image", "img"), "label": ("label",)}


def parquet(
    feed: stream.Feed = stream.IN_MEMORY,
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
    draft: bool = False,
    unreadable: int = 0,
) -> Source:
    """Returns the images and labels of Parquet files.

    The image column holds encoded images, as bytes or as {bytes, path}. The label column holds integers from 0 on,
    bool, whole floats or class names (also as a dictionary); null is unlabelled. Class names come from the file's
    metadata where it has them.

    Args:
        feed: whether images are decoded once or on access, see `data.stream.Feed`; no config key of the source.
        path: the file, or with * or {000..146} several, such as data/train-*.parquet; also in a store, such as
            s3://bucket/a.parquet.
        size: side of the square images, in pixels; 0: as they are stored, which must then be one size for all.
        test_path: file or files of the test images, with the same columns and classes; "": the test set is drawn.
        unlabelled_path: file or files of more images, whose labels are not read; "": none.
        image: name of the image column; "": image or img.
        label: name of the label column; "": label.
        fit: how an image becomes a square: "crop" (its middle), "squash" or "pad"; see `data.framing.place`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: antialiasing filter of the resize, "bilinear" or "bicubic".
        channels: 3 (color) or 1 (gray).
        draft: whether JPEGs of twice the size and more are decoded at a reduced scale: faster, slightly inexact.
        unreadable: up to so many images that cannot be read are left out and listed; more are an error.

    Returns: a dataset with the images of `path`, `unlabelled_path` and `test_path`, in this order.

    Raises: UserError for files, columns or labels that do not fit, and for too many unreadable images.
    """
    columns = {"image": image, "label": label}
    files = _find(path, "path")
    images, labels, classes = _read(files, path, columns, "config.data.source.path")
    if unlabelled_path:
        more = _find(unlabelled_path, "unlabelled_path")
        unlabelled_images, no_labels, _ = _read(
            more, unlabelled_path, {"image": image}, "config.data.source.unlabelled_path"
        )
        files += more
        if not unlabelled_images:
            raise UserError(f"config.data.source.unlabelled_path: no images in {unlabelled_path!r}")
        images, labels = _joined(images, unlabelled_images), _both(labels, no_labels)
    declared, tests = classes, 0
    if labels.dtype.kind == "U" and not classes:
        classes = in_order(name for name in map(normal, labels.tolist()) if not is_no_label(name))
    if test_path:
        more = _find(test_path, "test_path")
        test_images, test_labels, test_classes = _read(more, test_path, columns, "config.data.source.test_path")
        files += more
        if test_classes != declared:
            raise UserError(
                f"config.data.source.test_path: classes of {test_path!r} are {test_classes or 'without names'}, those "
                f"of {path!r} {declared or 'without names'}"
            )
        if (labels.dtype.kind == "U") != (test_labels.dtype.kind == "U"):
            kinds = ("names", "numbers") if test_labels.dtype.kind == "U" else ("numbers", "names")
            raise UserError(
                f"config.data.source.test_path: labels of {test_path!r} are {kinds[0]}, those of {path!r} {kinds[1]}"
            )
        if classes:
            of_array(test_labels, classes, "config.data.source.test_path", f"labels of {test_path!r}")
        images, tests = _joined(images, test_images), len(test_images)
        labels = _both(labels, test_labels)
    labels, classes, notes = of_array(labels, classes, "config.data.source.path", f"labels of {path!r}")

    fixed = last_test(len(labels), tests)
    feed.labelled(labels, classes, fixed)

    def read(row: int) -> bytes:
        content: bytes | None = images[row].as_py()
        if not content:
            raise ValueError("no bytes, perhaps only a path")
        return content

    framing = Framing(size, fit, crop, interpolation, channels, draft)
    local, remote = storage.dependence(files)
    decoded = stream.load(read, lambda row: f"row {row} of {path!r}", len(images), framing, feed, local, image + remote)
    decoded = left_out(decoded, lambda row: f"row {row}", unreadable, f"config.data.source.path: {path!r}")
    source = of_images(decoded, labels, classes, fixed)
    return source._replace(notes=(*source.notes, *notes))


def _find(path: str, setting: str) -> list[Stored]:
    return storage.find(path, f"config.data.source.{setting}", "parquet")


def _joined(first: Any, second: Any) -> Any:
    import pyarrow as pa

    return pa.chunked_array([*first.chunks, *second.chunks])


def _both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns both arrays of labels as one; -1 (unlabelled) becomes "" among names."""
    if first.dtype.kind == "U" and second.dtype.kind != "U":
        second = np.full(len(second), "")
    return np.concatenate([first, second])


def _read(
    files: Sequence[Stored], path: str, columns: dict[str, str], where: str
) -> tuple[Any, np.ndarray, tuple[str, ...]]:
    """Returns (encoded images, labels, class names or ()) of the files that `path` names.

    `columns` has the column names of "image" and "label", "" for the usual ones; without "label" all labels are -1.
    """
    import pyarrow as pa  # takes 0.25 s, so only where it is needed
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with files[0].open(0) as file:
            schema = pq.read_schema(file)
        names = {role: _column(role, name, schema.names, path) for role, name in columns.items()}
        table = pa.concat_tables([_table(file, list(names.values())) for file in files])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{where}: {path!r} is not parquet files of the same columns ({reason(error)})") from error
    images = table[names["image"]]
    if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
        images = pc.struct_field(images, "bytes")
    if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
        raise UserError(
            f"{where}: column {names['image']!r} of {path!r} holds {images.type}; want encoded images (binary)"
        )
    images = images.cast(pa.large_binary())
    if "label" not in names:
        return images, np.full(len(images), -1), ()
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    classes = features.get("info", {}).get("features", {}).get(names["label"], {}).get("names", ())
    check_classes(classes := tuple(map(normal, classes)), f"{where}: {path!r}")
    labels = table[names["label"]]
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    if pa.types.is_integer(labels.type) or pa.types.is_null(labels.type):
        return images, pc.fill_null(labels.cast(pa.int64()), -1).to_numpy(), classes
    if pa.types.is_floating(labels.type):
        return images, pc.fill_null(labels.cast(pa.float64()), np.nan).to_numpy(), classes
    if pa.types.is_boolean(labels.type):
        return images, pc.fill_null(labels.cast(pa.int64()), -1).to_numpy(), classes or ("False", "True")
    if pa.types.is_string(labels.type) or pa.types.is_large_string(labels.type):
        return images, np.array([name or "" for name in labels.to_pylist()], str), classes
    raise UserError(f"{where}: column {names['label']!r} of {path!r} holds {labels.type}; want integers or names")


def _table(file: Stored, columns: list[str]) -> Any:
    """Returns some columns of a file; of a store, nothing else is requested."""
    import pyarrow.parquet as pq

    if file.store is None:
        return pq.read_table(Path(file.name), columns=columns)
    with file.open(0) as opened:
        return pq.read_table(opened, columns=columns)


def _column(role: str, name: str, names: list[str], path: str) -> str:
    """Returns `name`, or for "" the first of the usual column names that the file has."""
    present = [column for column in ((name,) if name else USUAL[role]) if column in names]
    if not present:
        raise UserError(
            f"config.data.source.{role}: {path!r} has no column {name or ' or '.join(USUAL[role])}; it has "
            f"{', '.join(names)}"
        )
    return present[0]
