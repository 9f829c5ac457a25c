"""Image files in a folder, and a table (CSV) of their labels."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from efficient_jax.data import delimited, stream
from efficient_jax.data.class_names import check_classes, in_order, is_no_label, normal, note
from efficient_jax.data.dataset import FIXED, HELD_OUT, Source, last_test, of_images
from efficient_jax.data.decode import NAMED, left_out
from efficient_jax.data.delimited import Table
from efficient_jax.data.framing import Framing
from efficient_jax.data.image_files import comparable, walk
from efficient_jax.errors import UserError, counted, nearest

WHERE = "config.data.source"
TRUTH = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


def table(
    feed: stream.Feed = stream.IN_MEMORY,
    *,
    path: str,
    size: int,
    folder: str = "",
    test_path: str = "",
    file: str = "file",
    suffix: str = "",
    label: str = "label",
    labels: tuple[str, ...] = (),
    separator: str = "",
    group: str = "",
    part: str = "",
    answer: str = "",
    rest: bool = False,
    fit: str = "crop",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    draft: bool = False,
    unreadable: int = 0,
) -> Source:
    """Returns the images that the rows of a table name, with their labels.

    The table has a row for each image; its first row names the columns. `data.delimited.read` describes the delimiters
    and encodings. Classes are in the order of their names (of their numbers, where all are numbers), or of the columns.

    Args:
        feed: whether images are decoded once or on access, see `data.stream.Feed`; no config key of the source.
        path: the table, a text file.
        size: side of the square images, in pixels; 0: as they are stored, which must then be one size for all.
        folder: folder of the image files; "": that of the table.
        test_path: table of the test images, with the same columns; "": the test set is drawn.
        file: column of the image files, relative to `folder`.
        suffix: added to each name in that column, such as ".jpg".
        label: column of the class, or with `separator` of all labels; empty, or as in `class_names.NO_LABEL`:
            unlabelled.
        labels: in place of `label`, one column of 0 or 1 for each class; all empty: unlabelled.
        separator: what separates several labels in the column `label`, such as "|"; "": one label for each image.
        group: column of what belongs together (a person, a scene) and is never split; "": none.
        part: column that is "test" or "validation" for images that are held out, "selected" for labelled ones that were
            chosen and not drawn at random (`dataset.FIXED`), or empty; "": none. Held-out images without a label are
            left out.
        answer: column that is "none" for images of none of the classes, which are left out; "": none.
        rest: whether images below `folder` that no row names are unlabelled ones of the dataset. Of these, those that
            cannot be read are left out and listed, however many.
        fit: how an image becomes a square: "crop" (its middle), "squash" or "pad"; see `data.framing.place`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: antialiasing filter of the resize, "bilinear" or "bicubic".
        channels: 3 (color) or 1 (gray).
        draft: whether JPEGs of twice the size and more are decoded at a reduced scale: faster, slightly inexact.
        unreadable: up to so many images that are missing or cannot be read are left out and listed; more are an error.

    Returns: a dataset with the images of `path` and `test_path`, in this order; its task is "multi_label" with `labels`
    or a `separator`, else "classification".

    Raises: UserError for tables, columns, parts or labels that do not fit, an image that is named twice, and too many
    unreadable images.
    """
    if len(labels) == 1 or (labels and separator):
        raise UserError(f"{WHERE}.labels: want several columns and no separator; one column is {WHERE}.label")
    columns = [("file", file), *([("labels", name) for name in labels] or [("label", label)])]
    columns += [(setting, name) for setting, name in (("group", group), ("part", part), ("answer", answer)) if name]
    tables = [_read(path, f"{WHERE}.path", columns)]
    if test_path and part:
        raise UserError(f"{WHERE}.part: names the test images, and so does test_path; give one of both")
    if test_path:
        tables.append(_read(test_path, f"{WHERE}.test_path", columns))
    root = Path(folder) if folder else Path(path).parent
    if not root.is_dir():
        raise UserError(f"{WHERE}.folder: {folder!r} is {'a file' if root.exists() else 'not there'}; want a folder")
    names = [name + suffix for content in tables for name in content.column(file)]
    _check_names(names, [content for content in tables for _ in content.rows], file)
    classes = tuple(map(normal, labels)) or _classes(tables[0], label, separator)
    check_classes(classes, f"{WHERE}.labels")
    if len(classes) < 2:
        raise UserError(
            f"{WHERE}.label: column {label!r} of {path!r} has {list(classes)}; want two labels or more ('-1', "
            "'nan', 'none' and the like are no label)"
        )
    if labels:
        truth = np.concatenate([_truth(content, labels) for content in tables])
    else:
        truth = np.concatenate([_labels(content, label, classes, separator) for content in tables])
    files = [_spelled(root / name) for name in names]
    if not any(map(Path.is_file, files)):
        raise UserError(
            f"{WHERE}.folder: none of the {counted(len(files), 'file')} of {path!r} is there, such as "
            f"{str(files[0])!r}; say where with {WHERE}.folder, or how their names end with {WHERE}.suffix"
        )
    parts, used, notes = _parts(tables[0], part, answer, truth) if part or answer else ([], np.arange(len(files)), ())
    others = _others(root, files) if rest else []
    files = [*(files[row] for row in used), *others]
    truth = np.concatenate([truth[used], np.full((len(others), *truth.shape[1:]), -1)])
    fixed = last_test(len(names), len(tables[1].rows)) if test_path else {}
    fixed |= {
        name: rows for name in FIXED if len(rows := np.flatnonzero([parts[row] == name for row in used if parts]))
    }
    persons = [name for content in tables for name in content.column(group)] if group else []
    groups = _groups([*(persons[row] for row in used), *([""] * len(others))]) if group else None
    task = "multi_label" if labels or separator else "classification"
    feed.labelled(truth, classes, fixed, groups, task)
    framing, file_names = Framing(size, fit, crop, interpolation, channels, draft), [str(file) for file in files]
    decoded = stream.load(
        files.__getitem__, file_names.__getitem__, len(files), framing, feed, files, "", each_own=True
    )
    most = unreadable + sum(row >= len(used) for row in decoded.unreadable)
    decoded = left_out(decoded, file_names.__getitem__, most, f"{WHERE}.path")
    source = of_images(decoded, truth, classes, fixed, file_names, task)
    cells = [] if labels else [cell for content in tables for cell in content.column(label)]
    notes += (*note(filter(is_no_label, cells), len(names)), *(line for content in tables for line in content.notes))
    notes += (f"{counted(len(others), 'image')} of {str(root)!r} without a label: no row names them",) if rest else ()
    source = source._replace(notes=(*source.notes, *notes))
    return source if groups is None else source._replace(groups=groups[decoded.rows])


def _parts(content: Table, part: str, answer: str, truth: np.ndarray) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Returns (part of each row, or ""; indices of the rows that are used; notes on the others)."""
    parts = [cell.lower() for cell in content.column(part)] if part else [""] * len(content.rows)
    for row, name in enumerate(parts):
        if name not in ("", *FIXED):
            raise UserError(
                f"{content.at(row, part)} {name!r}; want {', '.join(FIXED)} or nothing{nearest(name, FIXED)}"
            )
    unknown = (truth < 0).any(axis=tuple(range(1, truth.ndim)))
    none = np.array([bool(answer) and cell.lower() == "none" for cell in (content.column(answer) if answer else parts)])
    held_out = np.isin(parts, HELD_OUT)
    counts = {
        "of none of the classes": int((none & unknown).sum()),
        "held out without a label": int((held_out & unknown & ~none).sum()),
    }
    notes = tuple(f"left out {counted(count, 'image')} {what}" for what, count in counts.items() if count)
    return parts, np.flatnonzero(~(unknown & (none | held_out))), notes


def _others(root: Path, files: Sequence[Path]) -> list[Path]:
    """Returns the images below a folder that are not among `files`."""
    named = set(map(comparable, files))
    return [file for file in walk(root, f"{WHERE}.folder").files if comparable(file) not in named]


def _read(path: str, where: str, columns: Sequence[tuple[str, str]]) -> Table:
    """Returns a table that has `columns`: pairs of a setting and the column that it names."""
    content = delimited.read(path, where, [column for _, column in columns])
    for setting, column in columns:
        if (count := content.names.count(normal(column))) != 1:
            hint = "; it has two of this name" if count else nearest(column, content.names)
            raise UserError(f"{WHERE}.{setting}: {path!r} has no column {column!r}{hint}")
    if not content.rows:
        raise UserError(f"{where}: {path!r} has no rows")
    return content


def _spelled(file: Path) -> Path:
    """Returns `file`, or where it does not exist the one whose name is the same in another normal form of Unicode."""
    if str(file).isascii() or file.exists():
        return file
    forms = (Path(unicodedata.normalize(form, str(file))) for form in ("NFC", "NFD"))
    return next((form for form in forms if form.exists()), file)


def _check_names(names: list[str], tables: list[Table], column: str) -> None:
    first: dict[str, int] = {}
    same_name = [(first.setdefault(name, i), i) for i, name in enumerate(names)]
    if pairs := [(row, repeat) for row, repeat in same_name if row != repeat]:
        row, repeat = pairs[0]
        which = f"{tables[row].path!r}" + (f" and {tables[repeat].path!r}" if tables[row] is not tables[repeat] else "")
        raise UserError(
            f"{tables[repeat].where}: {len(pairs):,} rows name an image again that another row names: "
            f"{', '.join(repr(names[i]) for _, i in pairs[:NAMED])} in column {column!r} of {which}; want one row each"
        )


def _classes(content: Table, column: str, separator: str) -> tuple[str, ...]:
    return in_order(name for names in _names(content, column, separator) for name in names)


def _names(content: Table, column: str, separator: str) -> list[list[str]]:
    """Returns the classes of each row: none where the image is unlabelled.

    Raises: UserError for a row that has both classes and a name that means unlabelled.
    """
    result = []
    for row, cell in enumerate(content.column(column)):
        parts = [normal(part) for part in (cell.split(separator) if separator else [cell]) if part.strip()]
        names = [part for part in parts if not is_no_label(part)]
        if names and len(names) < len(parts):
            raise UserError(f"{content.at(row, column)} {cell!r} has classes and a name that is no label; want either")
        result.append(names)
    return result


def _labels(content: Table, column: str, classes: Sequence[str], separator: str) -> np.ndarray:
    """Returns class indices [n], or with a separator 0 or 1 [n classes]; -1: unlabelled."""
    class_indices = {name: index for index, name in enumerate(classes)}
    labels = np.full((len(content.rows), len(classes)) if separator else len(content.rows), -1)
    for row, names in enumerate(_names(content, column, separator)):
        if unknown := [name for name in names if name not in class_indices]:
            raise UserError(f"{content.at(row, column)} unknown class {unknown[0]!r}{nearest(unknown[0], classes)}")
        if names:
            labels[row] = np.isin(classes, names) if separator else class_indices[names[0]]
    return labels


def _truth(content: Table, columns: Sequence[str]) -> np.ndarray:
    """Returns labels [n classes] from a column for each class; -1: unlabelled."""
    cells = np.array([content.column(column) for column in columns]).T
    labels = np.array([[-1 if is_no_label(cell) else TRUTH.get(cell.lower(), 2) for cell in row] for row in cells])
    wrong = (labels == 2) | ((labels == -1) & (labels >= 0).any(1, keepdims=True))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise UserError(
            f"{content.at(row, columns[column])} {str(cells[row, column])!r}; want 0 or 1 in all columns of labels, or "
            "nothing in all where the image is unlabelled"
        )
    return labels


def _groups(names: list[str]) -> np.ndarray:
    """Returns an index for each name; an image without a name is a group of its own."""
    single = [name or f"\0{row}" for row, name in enumerate(names)]
    return np.unique(single, return_inverse=True)[1].astype(np.int32)
