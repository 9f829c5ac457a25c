"""What a member predicted, as a file: an ensemble never needs the models again, and other programs can join it."""

import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax import files
from efficient_jax.data import dataset, delimited, identity
from efficient_jax.data.class_names import is_no_label, normal
from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError, counted, nearest
from efficient_jax.metrics.classification import NOT_COUNTED
from efficient_jax.tasks import TASKS, of_labels

SUFFIXES = (".npz", ".csv")
FILES = {"test": "predictions.npz", "validation": "validation.npz"}
"""In the folder of a stage."""

NAMED = 3


class Predictions(NamedTuple):
    """Of some images of a data set."""

    ids: Int[np.ndarray, " n"]  # their numbers in it
    probabilities: Float[np.ndarray, "n *hw classes"]
    labels: np.ndarray  # int32 [n ...] as `task` has them, -1 where nobody has labelled the image
    classes: tuple[str, ...]
    images: tuple[str, ...]  # their names
    contents: tuple[str, ...] = ()  # their content hashes, as `dataset.contents`; () where the file does not have them
    shares: bool = False  # whether `probabilities` are shares of a hard vote, which have no likelihood
    task: str = "classification"  # what a label is: a name of `tasks.TASKS`


def of(source: Source, ids: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n classes"]) -> Predictions:
    """Returns the predictions of images of a dataset, with their labels, names and content hashes.

    Args:
        source: the dataset.
        ids: indices of the images.
        probabilities: of these images.
    """
    names, contents = tuple(source.name(i) for i in ids), dataset.contents(source, ids)
    return Predictions(ids, probabilities, source.labels[ids], source.classes, names, contents, task=source.task)


def write(path: Path, found: Predictions) -> None:
    """Writes a file of predictions, whole or not at all.

    Args:
        path: an .npz of `id`, `image`, `content`, `label`, `probabilities`, `classes` and `task`; or, unless labels are
            of pixels, a .csv with a line for each image: id, image, content, label (the class's name, or of several
            labels 0 and 1 in columns `label(class)`), and columns `p(class)`.
        found: the predictions.
    """
    if path.suffix == ".npz":
        texts = {"image": np.array(found.images), "classes": np.array(found.classes), "task": np.array(found.task)}
        texts |= {"content": np.array(found.contents)} if found.contents else {}
        arrays = {"id": found.ids, "probabilities": found.probabilities, "label": found.labels}
        arrays |= {"shares": np.array(True)} if found.shares else {}
        return files.write_npz(path, arrays | texts)
    task = TASKS[found.task]
    names, labels = task.label_columns(found.classes), task.to_columns(found.labels, found.classes)
    contents = [found.contents] if found.contents else []
    columns = [found.ids, found.images, *contents, *labels, *found.probabilities.T]
    header = ["id", "image", *["content"] * len(contents), *names, *(f"p({name})" for name in found.classes)]
    return files.write_text(path, files.csv_text(header, zip(*columns, strict=True)))


def read(path: Path, where: str) -> Predictions:
    """Raises: UserError naming `where` for a file that is not there, or whose probabilities are none."""
    if not path.is_file():
        raise UserError(f"{where}: no file {str(path)!r}")
    try:
        found = _from_npz(path) if path.suffix == ".npz" else _from_csv(path, where)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile, zlib.error) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{where}: {str(path)!r} does not hold predictions: {what}") from error
    _check(found, f"{where}: {str(path)!r}")
    return found


def _from_npz(path: Path) -> Predictions:
    with np.load(path) as arrays:
        ids, probabilities = arrays["id"], arrays["probabilities"]
        classes = arrays["classes"] if "classes" in arrays else np.arange(probabilities.shape[-1])
        labels = arrays["label"] if "label" in arrays else np.full(len(ids), -1)
        images = _strings(arrays["image"]) if "image" in arrays else _numbered(ids)
        contents = _strings(arrays["content"]) if "content" in arrays else ()
        shares = "shares" in arrays and bool(arrays["shares"])
        task = str(arrays["task"]) if "task" in arrays else of_labels(labels).name  # none: of another program
    if task not in TASKS:
        raise ValueError(f"its task is {task!r}; want one of {', '.join(TASKS)}")
    classes = tuple(map(normal, _strings(classes)))
    return Predictions(ids, probabilities, labels.astype(np.int32), classes, images, contents, shares, task)


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
    images = tuple(table.column("image")) if "image" in table.names else _numbered(ids)
    contents = tuple(table.column("content")) if "content" in table.names else ()
    contents = contents if all(contents) else ()
    return Predictions(ids, probabilities, labels, classes, images, contents, task=of_labels(labels).name)


def _labels(table: delimited.Table, classes: tuple[str, ...]) -> Int[np.ndarray, " n"]:
    """Class numbers of the column `label`, -1 where it has no label or is not there."""
    numbers = {name: number for number, name in enumerate(classes)}
    names = list(map(normal, table.column("label"))) if "label" in table.names else [""] * len(table.rows)
    for row, name in enumerate(names):
        if name not in numbers and not is_no_label(name):
            raise UserError(f"{table.at(row, 'label')} unknown class {name!r}{nearest(name, classes)}")
    return np.array([numbers.get(name, -1) for name in names], np.int32)


def _numbered(ids: Int[np.ndarray, " n"]) -> tuple[str, ...]:
    return tuple(f"image {i}" for i in ids)


def _strings(values: np.ndarray) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _check(found: Predictions, where: str) -> None:
    task = TASKS[found.task]
    *shape, count = found.probabilities.shape or (-1,)
    lengths = {len(found.ids), len(found.labels), len(found.images), len(found.contents or found.ids), *shape[:1]}
    if (
        len(shape) not in (1, 3)
        or len(lengths) > 1
        or found.labels.shape != task.label_shape(found.probabilities.shape)
        or count != len(found.classes)
    ):
        raise UserError(
            f"{where} has probabilities {list(found.probabilities.shape)} for "
            f"{counted(len(found.ids), 'id')}, labels {list(found.labels.shape)} and "
            f"{counted(len(found.classes), 'class', 'classes')}; want [ids classes], or of "
            "pixels [ids h w classes]"
        )
    sums = found.probabilities.sum(-1, dtype=np.float64)
    inside = ((found.probabilities >= 0.0) & (found.probabilities <= 1.0)).all(-1)  # in this form nan is wrong too
    if len(wrong := np.argwhere(~(inside & (np.abs(sums - 1.0) <= 1e-3) if task.exclusive else inside))):
        at = tuple(wrong[0])
        raise UserError(
            f"{where}: the probabilities of {counted(len(np.unique(wrong[:, 0])), 'image')} are none, first "
            f"of {found.images[at[0]]!r}: {found.probabilities[at].round(4).tolist()}; want numbers in 0 .. 1"
            + (f" whose sum is 1, not {sums[at]:.4f}" if task.exclusive else "")
        )
    if not task.by_image and len(strange := np.setdiff1d(found.labels, [*range(count), NOT_COUNTED])):
        raise UserError(f"{where}: pixels are labelled {strange[:NAMED].tolist()}; want 0 .. {count - 1}, or 255: none")
    if len(np.unique(found.ids)) < len(found.ids):
        raise UserError(f"{where} has an id twice")


def rows_of(wanted: Predictions, among: Predictions) -> tuple[Int[np.ndarray, " n"], str]:
    """Finds the images of one set of predictions in another.

    Images are the same if their content is; without hashes, if their names are; a file of another program that has
    neither numbers them as the run does.

    Returns:
        (for each image of `wanted` its row in `among`, -1 where it is not there; what identified the images: "content",
        "name" or "id").
    """
    if wanted.contents and among.contents:
        return identity.rows_of(wanted.images, wanted.contents, among.images, among.contents), "content"
    if _named(wanted) and _named(among):
        return identity.rows_of_names(wanted.images, among.images), "name"
    return identity.rows_of_names([str(i) for i in wanted.ids], [str(i) for i in among.ids]), "id"


def same_images(found: Sequence[Predictions]) -> bool:
    """Whether all are of the same images, in any order."""
    first = found[0]
    pairs = ((rows_of(first, other)[0], rows_of(other, first)[0]) for other in found)
    return all((one >= 0).all() and (back >= 0).all() for one, back in pairs)


def _named(found: Predictions) -> bool:
    return found.images not in ((), _numbered(found.ids))


def matched(
    found: Sequence[Predictions], names: Sequence[str], where: str, more: Callable[[str], None] | None = None
) -> list[Predictions]:
    """All in the order of the first, with its ids, names and labels.

    Args:
        found: predictions of the same images, see `rows_of`.
        names: what they are called in a message.
        where: what an error names.
        more: takes a line on images that only others than the first have and that are left out; None: an error.

    Raises: UserError where images, labels or classes are not the same.
    """
    first = found[0]
    result = []
    for name, other in zip(names, found, strict=True):
        if other.classes != first.classes:
            raise UserError(
                f"{where}: classes of {name!r} are {list(other.classes)}, those of {names[0]!r} {list(first.classes)}"
            )
        order, by = rows_of(first, other)
        back, _ = rows_of(other, first)
        if (missing := np.flatnonzero(order < 0)).size:
            raise UserError(_apart(first, names[0], missing, other, name, by, where))
        if (beside := np.flatnonzero(back < 0)).size and more is None:
            raise UserError(_apart(other, name, beside, first, names[0], by, where))
        if beside.size and more:
            more(f"{name}: left out {counted(len(beside), 'image')} that {names[0]!r} does not have")
        labels = other.labels[order]
        known = labels if (labels >= 0).any() else first.labels  # a file of another program may have none
        if not np.array_equal(known, first.labels):
            row = np.flatnonzero((known != first.labels).reshape(len(known), -1).any(1))[0]
            raise UserError(
                f"{where}: labels of {name!r} are not those of {names[0]!r}, first for {first.images[row]!r} "
                f"(id {first.ids[row]})"
            )
        result.append(first._replace(probabilities=other.probabilities[order], shares=other.shares))
    return result


def _apart(
    found: Predictions, name: str, rows: Int[np.ndarray, " m"], other: Predictions, other_name: str, by: str, where: str
) -> str:
    """What to say of images that are in one file only, found by "content", "name" or "id"."""
    if by == "id":
        shown = f"such as ids {found.ids[rows[:NAMED]].tolist()}"
    else:
        changed = by == "content" and found.images[rows[0]] in set(other.images)
        shown = "such as " + ", ".join(repr(found.images[row]) for row in rows[:NAMED])
        shown += ", whose file is another one there" if changed else ""
    which = counted(len(rows), f"image of {name!r} is", f"images of {name!r} are")
    return f"{where}: {which} not in {other_name!r}, compared by {by}, {shown}"
