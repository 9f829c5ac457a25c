"""Datasets of tensorflow_datasets that are prepared as array_record; reading them needs no TensorFlow."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.data import stream
from efficient_jax.data.class_names import check_classes, normal
from efficient_jax.data.dataset import Source, last_test, of_images
from efficient_jax.data.decode import listed
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError, nearest


def tfds(
    feed: stream.Feed = stream.IN_MEMORY,
    *,
    dataset: str,
    size: int,
    data_dir: str = "",
    split: str = "train",
    test_split: str = "test",
    fit: str = "crop",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    draft: bool = False,
) -> Source:
    """Returns a split of a prepared dataset of tensorflow_datasets, and a second one as its test images.

    Nothing is downloaded: `tfds build` must have prepared the dataset.

    Args:
        feed: whether images are decoded once or on access, see `data.stream.Feed`; no config key of the source.
        dataset: its name, also with config and version: imagenette/320px-v2:1.0.0.
        size: side of the square images, in pixels; 0: as they are stored, which must then be one size for all.
        data_dir: folder in which `tfds build` has prepared it; "": ~/tensorflow_datasets.
        split: the split to read, also a slice: train[:90%].
        test_split: the split of the test images, also a slice; "": the test set is drawn.
        fit: how an image becomes a square: "crop" (its middle), "squash" or "pad"; see `data.framing.place`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: antialiasing filter of the resize, "bilinear" or "bicubic".
        channels: 3 (color) or 1 (gray).
        draft: whether JPEGs of twice the size and more are decoded at a reduced scale: faster, slightly inexact.

    Returns: a dataset with the images of `split` and `test_split`, in this order.

    Raises: UserError for a dataset that is unknown, not prepared or not of images with one class, and for unreadable
    images.
    """
    import tensorflow_datasets  # takes over 0.5 s, so only where it is needed

    builder = _builder(dataset, data_dir)
    image, label = _columns(dataset, builder.info)
    parts = [_part(dataset, data_dir, builder, split, "split")]
    if test_split:
        parts.append(_part(dataset, data_dir, builder, test_split, "test_split"))
    for part in parts:
        # Stored bytes, which data.decode decodes: tfds returns palette indices and CMYK values as if they were RGB.
        # Set afterwards, since mock_data needs TensorFlow where as_data_source gets decoders.
        part.decoders = {image: tensorflow_datasets.decode.SkipDecoding()}
    starts = np.cumsum([0, *map(len, parts)])
    labels = np.full(starts[-1], -1, np.int32)

    def read(row: int) -> bytes | np.ndarray:
        number = int(np.searchsorted(starts, row, "right")) - 1
        example = parts[number][row - int(starts[number])]
        labels[row] = example[label]
        content: bytes | np.ndarray = example[image]
        return content

    about, prepared = f"{dataset} {split} {test_split}", sorted(Path(builder.data_dir).glob("*"))
    framing = Framing(size, fit, crop, interpolation, channels, draft)
    decoded = stream.load(read, lambda row: f"row {row} of {dataset!r}", len(labels), framing, feed, prepared, about)
    for row in np.flatnonzero(labels < 0):  # images from the cache of decoded ones were not read
        read(int(row))
    if decoded.unreadable:
        failed = listed({f"row {row}": why for row, why in decoded.unreadable.items()})
        raise UserError(f"config.data.source.dataset: {dataset!r} has {failed}")
    classes = tuple(map(normal, builder.info.features[label].names))
    check_classes(classes, "config.data.source.dataset")
    return of_images(decoded, labels, classes, last_test(len(labels), len(parts[1]) if test_split else 0))


def _builder(name: str, data_dir: str) -> Any:
    import tensorflow_datasets

    where = "config.data.source.dataset"
    if re.match(r"[\w-]+:[a-zA-Z_]", name):
        raise UserError(
            f"{where}: {name!r} is a community collection, which tfds downloads; want one of its own datasets"
        )
    try:
        return tensorflow_datasets.builder(name, **({"data_dir": data_dir} if data_dir else {}))
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        known = tensorflow_datasets.list_builders(with_community_datasets=False)
        raise UserError(f"{where}: tfds has no dataset {name!r}{nearest(name.split('/')[0], known)}") from error
    except (ValueError, AssertionError, ImportError) as error:  # a config, a version, a dataset that needs TensorFlow
        raise UserError(f"{where}: {name!r}: {_line(error)}") from error


def _columns(name: str, info: Any) -> tuple[str, str]:
    """Returns the names of the features that hold the image and its class."""
    import tensorflow_datasets

    keys = info.supervised_keys
    if not (
        isinstance(keys, tuple)
        and len(keys) == 2
        and all(isinstance(key, str) and key in info.features for key in keys)
        and len(info.features[keys[0]].shape) == 3
        and isinstance(info.features[keys[1]], tensorflow_datasets.features.ClassLabel)
    ):
        raise UserError(
            f"config.data.source.dataset: {name!r} does not pair images with classes; it has {', '.join(info.features)}"
        )
    return keys


def _part(name: str, data_dir: str, builder: Any, split: str, setting: str) -> Any:
    try:
        return builder.as_data_source(split=split, file_format="array_record")
    except NotImplementedError as error:
        option = f" --data_dir={data_dir}" if data_dir else ""
        raise UserError(
            f"config.data.source.dataset: {name!r} is not there as array_record (looked in {builder.data_dir}); with a "
            f"network and TensorFlow, `tfds build {name} --file_format=array_record{option}` makes it; or put its "
            "images into one folder for each class and say config.data.source.name=folder"
        ) from error
    except ValueError as error:
        raise UserError(f"config.data.source.{setting}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
