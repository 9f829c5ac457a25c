"""Class names: their normal form and order, and the values that mean that an image is unlabelled."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
from jaxtyping import Int

from efficient_jax.errors import UserError, nearest

NO_LABEL = frozenset({"", "-1", "-1.0", "nan", "na", "n/a", "<na>", "none", "null", "unlabelled", "unlabeled"})
"""Names, in lower case, that mean unlabelled, unless a list of classes has them."""

NO_CLASS = 255
"""The value of a pixel without a class in a map of classes, which so has 255 classes at most."""

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
NAMED = 5  # most pairs that a note lists


def is_no_label(name: str) -> bool:
    """Returns whether a name means unlabelled: whether it is in `NO_LABEL`.

    Args:
        name: of any case, also with outer spaces.
    """
    return name.strip().lower() in NO_LABEL


def normal(name: str) -> str:
    """Returns a class name without outer spaces in Unicode's form NFC: macOS writes é as two characters, others as one.

    Args:
        name: as it was read.
    """
    return unicodedata.normalize("NFC", writable(name)).strip()


def writable(name: str) -> str:
    """Returns a name with ? for bytes that are not UTF-8, which file names can have, and text files cannot.

    Args:
        name: of a file, as Python returns it.
    """
    return name if name.isascii() else name.encode(errors="replace").decode()


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Returns distinct names in order: of their numbers where all are numbers (equal ones, 1 and 01, as text), else as
    text.

    Args:
        names: also repeated ones.
    """
    once = set(names)
    if all(map(NUMBER.fullmatch, once)):
        return tuple(sorted(once, key=lambda name: (Decimal(name), name)))
    return tuple(sorted(once))


def check_classes(classes: Sequence[str], where: str) -> None:
    """Checks that class names are distinct.

    Args:
        classes: name of each class.
        where: the setting that names them, for messages.

    Raises: UserError for a class name that is there twice.
    """
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise UserError(f"{where}: {len(twice):,} class names are there twice, such as {twice[0]!r}; want each once")


def of_array(
    values: np.ndarray, classes: Sequence[str], where: str, about: str
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...], tuple[str, ...]]:
    """Returns class indices from labels that are integers, whole floats, bool or names.

    Args:
        values: [n]; -1, nan, or a name of `NO_LABEL` where there is no label.
        classes: name of each class, in order; empty: those that `values` has.
        where: the setting that names the file, for messages.
        about: what the labels are called in messages, such as "labels of 'a.npz'".

    Returns: (class indices int32 [n], -1: unlabelled; names of the classes; notes).

    Raises: UserError for labels of another kind, of no class, or counted from 1.
    """
    classes = tuple(map(normal, classes))
    check_classes(classes, where)
    if values.dtype.kind in "SUO":
        return _of_names(values, classes, where, about)
    if values.dtype.kind == "b":
        values, classes = values.astype(np.int64), classes or ("False", "True")
    notes: tuple[str, ...] = ()
    if values.dtype.kind == "f":
        unknown = np.isnan(values)
        numbers = np.where(unknown, -1, values)
        if len(wrong := numbers[~((np.abs(numbers) < 2**53) & (numbers == np.floor(numbers)))]):
            raise UserError(f"{where}: {about} are {values.dtype}, such as {wrong[0]:g}; want whole numbers or names")
        values, notes = numbers.astype(np.int64), note(["nan"] * int(unknown.sum()), len(values))
    if values.dtype.kind not in "iu":
        raise UserError(f"{where}: {about} are {values.dtype}; want integers or names")
    values = values.astype(np.int64)
    least, most = int(values.min(initial=0)), int(values.max(initial=-1))
    lowest = int(values[values >= 0].min(initial=max(most, 0)))
    if lowest == 1 and (most == len(classes) if classes else most > 1):
        raise UserError(
            f"{where}: {about} go from 1 to {most}, as if counted from 1; labels count from 0 (-1 is none): subtract "
            "1, or give the names of the classes from 0 on"
        )
    names = classes or tuple(str(number) for number in range(most + 1))
    if most >= len(names) or least < -1:
        raise UserError(
            f"{where}: {about} go from {values.min()} to {values.max()}, but there are {len(names)} classes; labels "
            "count from 0, and -1 is none"
        )
    return values.astype(np.int32), names, notes


def _of_names(
    values: np.ndarray, classes: tuple[str, ...], where: str, about: str
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...], tuple[str, ...]]:
    try:
        names = [normal(name.decode() if isinstance(name, bytes) else str(name)) for name in values.tolist()]
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: {about} are bytes that are not UTF-8") from error
    unlabelled = [name for name in names if name not in classes and is_no_label(name)]
    known = classes or in_order(set(names) - set(unlabelled))
    index_of = dict.fromkeys(unlabelled, -1) | {name: index for index, name in enumerate(known)}
    for row, name in enumerate(names):
        if name not in index_of:
            raise UserError(f"{where}: {about} have the class {name!r} in row {row}{nearest(name, known)}")
    return np.array([index_of[name] for name in names], np.int32), known, note(unlabelled, len(names))


def note(none: Iterable[str], count: int) -> tuple[str, ...]:
    """Returns a note on how many images are unlabelled, by the names that say so; none where all names are empty.

    Args:
        none: the name of each unlabelled image, as in `NO_LABEL`.
        count: number of all images.
    """
    words = Counter(none)
    listed = ", ".join(f"{word!r} ({number:,})" for word, number in sorted(words.items()))
    return (f"{words.total():,} of {count:,} images without a label: {listed}",) if any(words) else ()


def alike(classes: Sequence[str]) -> tuple[str, ...]:
    """Returns a note on class names that differ, but may be meant as one: 1 and 01, Cat and cat.

    Args:
        classes: name of each class.
    """
    groups: dict[object, list[str]] = {}
    for name in classes:
        groups.setdefault(Decimal(name) if NUMBER.fullmatch(name) else name.casefold(), []).append(name)
    pairs = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    return (f"classes that differ, but look alike: {', '.join(pairs[:NAMED])}",) if pairs else ()
