"""What a member predicted, as a file: an ensemble never needs the models again, and other programs can join it."""

import csv
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax import records
from efficient_jax.classification import NOT_COUNTED
from efficient_jax.data.sources import Source
from efficient_jax.types import UserError

SUFFIXES = (".npz", ".csv")
FILES = {"test": "predictions.npz", "validation": "validation.npz"}
"""In the folder of a stage."""

NAMED = 3


class Predictions(NamedTuple):
    """Of some images of a data set."""

    ids: Int[np.ndarray, "n"]  # their numbers in it
    probabilities: Float[np.ndarray, "n *hw classes"]
    labels: np.ndarray  # int32 [n], -1 where nobody has labelled the image; or [n classes] of 0/1; or of pixels [n h w]
    classes: tuple[str, ...]
    images: tuple[str, ...]  # their names
    shares: bool = False  # whether `probabilities` are shares of a hard vote, which have no likelihood


def of(source: Source, ids: Int[np.ndarray, "n"], probabilities: Float[np.ndarray, "n classes"]) -> Predictions:
    return Predictions(ids, probabilities, source.labels[ids], source.classes, tuple(source.name(i) for i in ids))


def write(path: Path, found: Predictions) -> None:
    """An .npz of `id`, `image`, `label`, `probabilities` and `classes`; or, where there is one class or several for an
    image, a .csv with a line for each: id, image, label (the class's name, or of several labels 0 and 1 in columns
    `label(class)`), and columns `p(class)`. Whole or not at all."""
    if path.suffix == ".npz":
        texts = {"image": np.array(found.images), "classes": np.array(found.classes)}
        arrays = {"id": found.ids, "probabilities": found.probabilities, "label": found.labels}
        arrays |= {"shares": np.array(True)} if found.shares else {}
        return records.write_npz(path, arrays | texts)
    several = found.labels.ndim == 2
    labels = found.labels.T if several else [["" if k < 0 else found.classes[k] for k in found.labels]]
    names = [f"label({name})" for name in found.classes] if several else ["label"]
    columns = [found.ids, found.images, *labels, *found.probabilities.T]
    header = ["id", "image", *names, *(f"p({name})" for name in found.classes)]
    return records.write_text(path, records.csv_text(header, zip(*columns, strict=True)))


def read(path: Path, where: str) -> Predictions:
    """Raises: UserError naming `where` for a file that is not there, or whose probabilities are none."""
    if not path.is_file():
        raise UserError(f"{where}: no file {str(path)!r}")
    try:
        found = _from_npz(path) if path.suffix == ".npz" else _from_csv(path)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile, zlib.error, csv.Error) as error:
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
        shares = "shares" in arrays and bool(arrays["shares"])
    return Predictions(ids, probabilities, labels.astype(np.int32), _strings(classes), images, shares)


def _from_csv(path: Path) -> Predictions:
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    classes = tuple(match[1] for name in names if (match := re.fullmatch(r"p\((.*)\)", name, re.DOTALL)))
    if not classes:
        raise ValueError("it has no columns p(class)")
    if f"label({classes[0]})" in columns:
        labels = np.array([[of or "-1" for of in columns[f"label({name})"]] for name in classes], np.int32).T
    else:
        numbers = {name: number for number, name in enumerate(classes)} | {"": -1}
        labels = np.array([numbers[name] for name in columns.get("label", [""] * len(rows))], np.int32)
    probabilities = np.array([columns[f"p({name})"] for name in classes], np.float32).T
    ids = np.array(columns["id"], np.int64)
    return Predictions(ids, probabilities, labels, classes, columns.get("image") or _numbered(ids))


def _numbered(ids: Int[np.ndarray, "n"]) -> tuple[str, ...]:
    return tuple(f"image {i}" for i in ids)


def _strings(values: np.ndarray) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _check(found: Predictions, where: str) -> None:
    *shape, count = found.probabilities.shape or (-1,)
    labels = [*shape, count] if found.labels.ndim == 2 else shape
    lengths = {len(found.ids), len(found.labels), len(found.images), *shape[:1]}
    if (
        len(shape) not in (1, 3)
        or len(lengths) > 1
        or list(found.labels.shape) != labels
        or count != len(found.classes)
    ):
        raise UserError(
            f"{where} has probabilities {list(found.probabilities.shape)} for {len(found.ids)} ids, labels "
            f"{list(found.labels.shape)} and {len(found.classes)} classes; want [ids classes], or of pixels "
            "[ids h w classes]"
        )
    several, sums = found.labels.ndim == 2, found.probabilities.sum(-1, dtype=np.float64)
    inside = ((found.probabilities >= 0.0) & (found.probabilities <= 1.0)).all(-1)  # in this form nan is wrong too
    if len(wrong := np.argwhere(~(inside if several else inside & (np.abs(sums - 1.0) <= 1e-3)))):
        at = tuple(wrong[0])
        raise UserError(
            f"{where}: the probabilities of {len(np.unique(wrong[:, 0])):,} images are none, first of "
            f"{found.images[at[0]]!r}: {found.probabilities[at].round(4).tolist()}; want numbers in 0 .. 1"
            + ("" if several else f" whose sum is 1, not {sums[at]:.4f}")
        )
    if found.labels.ndim == 3 and len(strange := np.setdiff1d(found.labels, [*range(count), NOT_COUNTED])):
        raise UserError(f"{where}: pixels are labelled {strange[:NAMED].tolist()}; want 0 .. {count - 1}, or 255: none")
    if len(np.unique(found.ids)) < len(found.ids):
        raise UserError(f"{where} has an id twice")


def matched(found: Sequence[Predictions], names: Sequence[str], where: str) -> list[Predictions]:
    """All in the order of the first's ids. Raises: UserError where images, labels or classes are not the same."""
    first = found[0]
    result = []
    for name, other in zip(names, found, strict=True):
        if other.classes != first.classes:
            raise UserError(
                f"{where}: classes of {name!r} are {list(other.classes)}, those of {names[0]!r} {list(first.classes)}"
            )
        if len(apart := np.setxor1d(other.ids, first.ids)):
            raise UserError(
                f"{where}: {name!r} and {names[0]!r} are of other images: {len(apart):,} ids are in one of them only, "
                f"such as {apart[:NAMED].tolist()}"
            )
        order = np.argsort(other.ids)[np.argsort(np.argsort(first.ids))]
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
