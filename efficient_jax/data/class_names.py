"""What a label of a source means: the names of the classes and their order, and which values stand for no label."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
from jaxtyping import Int

from efficient_jax.errors import UserError, nearest

NO_LABEL = frozenset({"", "-1", "-1.0", "nan", "na", "n/a", "<na>", "none", "null", "unlabelled", "unlabeled"})
"""Names, in lower case, that are no class unless a list of classes has them."""

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
NAMED = 5


def is_no_label(name: str) -> bool:
    return name.strip().lower() in NO_LABEL


def normal(name: str) -> str:
    """A class name without outer spaces in Unicode's form NFC: macOS writes e.g. é as two characters, others as one."""
    return unicodedata.normalize("NFC", writable(name)).strip()


def writable(name: str) -> str:
    """`name` with ? for bytes that are not UTF-8, which names of files can have, and text files cannot."""
    return name.encode(errors="replace").decode()


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Each of the names once, in a total order: by their numbers where all are numbers, equal ones (1, 01) as text."""
    once = set(names)
    if all(map(NUMBER.fullmatch, once)):
        return tuple(sorted(once, key=lambda name: (Decimal(name), name)))
    return tuple(sorted(once))


def check_classes(classes: Sequence[str], where: str) -> None:
    """Raises: UserError naming `where` for a class name that is there twice."""
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise UserError(f"{where}: {len(twice):,} class names are there twice, such as {twice[0]!r}; want each once")


def of_array(
    values: np.ndarray, classes: Sequence[str], where: str, about: str
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...], tuple[str, ...]]:
    """Class numbers of labels that are integers, whole floats, bool or names.

    Args:
        values: [n]; -1, nan, or a name of `NO_LABEL` where there is no label.
        classes: names of the classes in order, or () for those that `values` has.
        where: the setting that names the file.
        about: the labels in messages, such as "labels of 'a.npz'".

    Returns:
        (int32 [n], -1 for no label; names of the classes; notes).

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
    none = [name for name in names if name not in classes and is_no_label(name)]
    known = classes or in_order(set(names) - set(none))
    numbers = dict.fromkeys(none, -1) | {name: number for number, name in enumerate(known)}
    for row, name in enumerate(names):
        if name not in numbers:
            raise UserError(f"{where}: {about} have the class {name!r} in row {row}{nearest(name, known)}")
    return np.array([numbers[name] for name in names], np.int32), known, note(none, len(names))


def note(none: Iterable[str], count: int) -> tuple[str, ...]:
    """Says how many of `count` images have no label, by the names that say so; nothing where all are empty."""
    words = Counter(none)
    listed = ", ".join(f"{word!r} ({number:,})" for word, number in sorted(words.items()))
    return (f"{words.total():,} of {count:,} images without a label: {listed}",) if any(words) else ()


def alike(classes: Sequence[str]) -> tuple[str, ...]:
    """Notes class names that are kept apart, but may be meant as one: 1 and 01, Cat and cat."""
    groups: dict[object, list[str]] = {}
    for name in classes:
        groups.setdefault(Decimal(name) if NUMBER.fullmatch(name) else name.casefold(), []).append(name)
    pairs = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    return (f"classes that differ, but look alike: {', '.join(pairs[:NAMED])}",) if pairs else ()
