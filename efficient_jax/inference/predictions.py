"""Files of predictions: ensembles are evaluated without running models, and other programs' predictions can join."""

import re
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax import files
from efficient_jax.data import dataset, delimited
from efficient_jax.data.class_names import is_no_label, normal
from efficient_jax.data.dataset import Source
from efficient_jax.detection.rows import ROW
from efficient_jax.errors import UserError, counted, nearest
from efficient_jax.metrics.classification import NOT_COUNTED
from efficient_jax.tasks import TASKS, of_labels

SUFFIXES = (".npz", ".csv")
FILES = {"test": "predictions.npz", "validation": "validation.npz"}
"""Split -> name of the file in the folder of a stage."""

NAMED = 3
PIXEL_DTYPE = np.float16  # of the probabilities of pixels: a rounding of 0.05%, and half of the space
PIXEL_AXES = 4  # [n h w classes]


class Predictions(NamedTuple):
    """Predictions for some images of a dataset."""

    ids: Int[np.ndarray, " n"]  # indices of the images in the dataset
    probabilities: Float[np.ndarray, "n *hw classes"]
    labels: np.ndarray  # int32 [n ...] as `task` has them, -1 where nobody has labelled the image
    classes: tuple[str, ...]
    images: tuple[str, ...]  # names of the images
    contents: tuple[
        str, ...
    ] = ()  # content hashes of the images, as `dataset.contents`; () where the file does not have them
    shares: bool = False  # whether `probabilities` are shares of a hard vote, which have no likelihood
    task: str = "classification"  # what a label is: a name of `tasks.TASKS`
    pixel_areas: Float[np.ndarray, " n"] | None = None  # of a pixel, in pixels of the original image; None: not known


def gather(
    source: Source,
    ids: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n *hw classes"],
    pixel_areas: Float[np.ndarray, " n"] | None = None,
) -> Predictions:
    """Returns the predictions of images of a dataset, with their labels, names and content hashes.

    Args:
        source: the dataset.
        ids: indices of the images.
        probabilities: predictions for these images.
        pixel_areas: area of a pixel of each image in pixels of the original; None: not known.
    """
    names, contents = tuple(source.name(i) for i in ids), dataset.contents(source, ids)
    labels, classes = source.labels[ids], source.classes
    return Predictions(ids, probabilities, labels, classes, names, contents, False, source.task, pixel_areas)


def write(path: Path, predictions: Predictions) -> None:
    """Writes a file of predictions, whole or not at all.

    Args:
        path: an .npz of `id`, `image`, `content`, `label`, `probabilities`, `classes` and `task`; or, unless labels are
            of pixels, a .csv with a line for each image: id, image, content, label (the class's name, or of several
            labels 0 and 1 in columns `label(class)`), and columns `p(class)`.
        predictions: what is written.
    """
    if path.suffix == ".npz":
        texts = {"image": predictions.images, "classes": predictions.classes, "task": predictions.task}
        texts |= {"content": predictions.contents} if predictions.contents else {}
        arrays = {"id": predictions.ids, "probabilities": predictions.probabilities, "label": predictions.labels}
        arrays |= {"shares": np.array(True)} if predictions.shares else {}
        arrays |= {} if predictions.pixel_areas is None else {"pixel_areas": predictions.pixel_areas}
        return files.write_npz(path, arrays | {name: np.array(value) for name, value in texts.items()})
    task, classes = TASKS[predictions.task], predictions.classes
    names, labels = task.label_columns(classes), task.to_columns(predictions.labels, classes)
    contents = [predictions.contents] if predictions.contents else []
    columns = [predictions.ids, predictions.images, *contents, *labels, *predictions.probabilities.T]
    header = ["id", "image", *["content"] * len(contents), *names, *(f"p({name})" for name in classes)]
    return files.write_text(path, files.csv_text(header, zip(*columns, strict=True)))


def read(path: Path, where: str) -> Predictions:
    """Reads a file of predictions, see `write`. In files of other programs labels, names and classes may be missing.

    Args:
        path: an .npz, or else a .csv.
        where: what an error names.

    Raises: UserError for a file that does not exist or holds no probabilities.
    """
    if not path.is_file():
        raise UserError(f"{where}: no file {str(path)!r}")
    try:
        predictions = _from_npz(path) if path.suffix == ".npz" else _from_csv(path, where)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile, zlib.error) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{where}: {str(path)!r} does not hold predictions: {what}") from error
    _check(predictions, f"{where}: {str(path)!r}")
    return predictions


def _from_npz(path: Path) -> Predictions:
    probabilities = stored_probabilities(path)
    with np.load(path) as arrays:
        ids = arrays["id"]
        classes = arrays["classes"] if "classes" in arrays else np.arange(probabilities.shape[-1])
        labels = arrays["label"] if "label" in arrays else np.full(len(ids), -1)
        images = _strings(arrays["image"]) if "image" in arrays else numbered(ids)
        contents = _strings(arrays["content"]) if "content" in arrays else ()
        shares = "shares" in arrays and bool(arrays["shares"])
        areas = arrays.get("pixel_areas")
        task = str(arrays["task"]) if "task" in arrays else of_labels(labels).name  # files of other programs have none
    if task not in TASKS:
        raise ValueError(f"its task is {task!r}; want one of {', '.join(TASKS)}")
    classes = tuple(map(normal, _strings(classes)))
    if labels.dtype != np.uint8 or not TASKS[task].by_pixel:  # such maps may be many; labels of boxes are float
        labels = labels if labels.dtype.kind == "f" else labels.astype(np.int32)
    return Predictions(ids, probabilities, labels, classes, images, contents, shares, task, areas)


def stored_probabilities(path: Path) -> np.ndarray:
    """Returns the probabilities in an .npz file of predictions; those of pixels are `files.scratch`, not in memory.

    Args:
        path: the file.

    Raises: KeyError where it has none; ValueError, OSError, zlib.error and zipfile.BadZipFile for a damaged file.
    """
    if len(files.npz_shape(path, "probabilities")) == PIXEL_AXES:
        return files.read_npz_entries(path, "probabilities", PIXEL_DTYPE)
    with np.load(path) as arrays:
        probabilities: np.ndarray = arrays["probabilities"]
        return probabilities


def _from_csv(path: Path, where: str) -> Predictions:
    table = delimited.read(path, where, ("id", "image", "label"))
    columns = {name: match[1] for name in table.names if (match := re.fullmatch(r"p\((.*)\)", name, re.DOTALL))}
    classes = tuple(map(normal, columns.values()))
    if not classes:
        raise ValueError("it has no columns p(class)")
    if twice := [name for name in table.names if table.names.count(name) > 1]:
        raise ValueError(f"it has two columns {twice[0]!r}")
    if f"label({classes[0]})" in table.names:
        labels = np.array([table.numbers(f"label({name})", np.int32, none="-1") for name in columns.values()]).T
    else:
        labels = _labels(table, classes)
    probabilities = np.array([table.numbers(name, np.float32) for name in columns]).T
    ids = table.numbers("id", np.int64)
    images = tuple(table.column("image")) if "image" in table.names else numbered(ids)
    contents = tuple(table.column("content")) if "content" in table.names else ()
    contents = contents if all(contents) else ()
    return Predictions(ids, probabilities, labels, classes, images, contents, task=of_labels(labels).name)


def _labels(table: delimited.Table, classes: tuple[str, ...]) -> Int[np.ndarray, " n"]:
    """Returns the class indices of the column `label`, -1 where there is no label or no such column."""
    numbers = {name: number for number, name in enumerate(classes)}
    names = list(map(normal, table.column("label"))) if "label" in table.names else [""] * len(table.rows)
    for row, name in enumerate(names):
        if name not in numbers and not is_no_label(name):
            raise UserError(f"{table.at(row, 'label')} unknown class {name!r}{nearest(name, classes)}")
    return np.array([numbers.get(name, -1) for name in names], np.int32)


def numbered(ids: Int[np.ndarray, " n"]) -> tuple[str, ...]:
    """Returns the names of images in a file that has none.

    Args:
        ids: their indices.
    """
    return tuple(f"image {i}" for i in ids)


def _strings(values: np.ndarray) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _check(predictions: Predictions, where: str) -> None:
    task = TASKS[predictions.task]
    *shape, count = predictions.probabilities.shape or (-1,)
    lengths = {
        len(predictions.ids),
        len(predictions.labels),
        len(predictions.images),
        len(predictions.contents or predictions.ids),
        *shape[:1],
    }
    if not task.probable:
        if len(lengths) > 1 or len(shape) != 2 or count != ROW or predictions.labels.shape[2:] != (count,):
            raise UserError(
                f"{where} has boxes {list(predictions.probabilities.shape)} for {counted(len(predictions.ids), 'id')} "
                f"and labels {list(predictions.labels.shape)}; want [ids boxes {ROW}] of both"
            )
        return
    if (
        len(shape) not in (1, 3)
        or len(lengths) > 1
        or predictions.labels.shape != task.label_shape(predictions.probabilities.shape)
        or count != len(predictions.classes)
    ):
        raise UserError(
            f"{where} has probabilities {list(predictions.probabilities.shape)} for "
            f"{counted(len(predictions.ids), 'id')}, labels {list(predictions.labels.shape)} and "
            f"{counted(len(predictions.classes), 'class', 'classes')}; want [ids classes], or of "
            "pixels [ids h w classes]"
        )
    values = predictions.probabilities
    if task.by_pixel:
        right: np.ndarray = np.array([_distributions(image, True).all() for image in files.entries(values)], bool)
    else:
        right = _distributions(values, task.exclusive)
    if len(wrong := np.flatnonzero(~right)):
        of_image = values[wrong[0]]
        row = of_image[~_distributions(of_image, True)][0] if task.by_pixel else of_image
        rows = counted(len(wrong), "row is not probabilities", "rows are not probabilities")
        raise UserError(
            f"{where}: {rows}, first that of {predictions.images[wrong[0]]!r}: "
            f"{row.round(4).tolist()}; want numbers in 0 .. 1"
            + (f" whose sum is 1, not {row.sum(dtype=np.float64):.4f}" if task.exclusive else "")
        )
    if task.by_pixel and len(strange := np.setdiff1d(_values(predictions.labels), [*range(count), NOT_COUNTED])):
        raise UserError(f"{where}: pixels are labelled {strange[:NAMED].tolist()}; want 0 .. {count - 1}, or 255: none")
    if len(np.unique(predictions.ids)) < len(predictions.ids):
        raise UserError(f"{where} has an id twice")


def _distributions(probabilities: np.ndarray, exclusive: bool) -> np.ndarray:
    """Returns which rows of an image are probabilities; of exclusive classes their sum must be 1."""
    inside = ((probabilities >= 0.0) & (probabilities <= 1.0)).all(-1)  # also False for nan
    return np.asarray(inside & (np.abs(probabilities.sum(-1, dtype=np.float64) - 1.0) <= 1e-3) if exclusive else inside)


def _values(labels: np.ndarray) -> list[int]:
    return sorted(set().union(*(np.unique(label).tolist() for label in labels)))
