"""`split.csv` of a run: which image is in which part of the split.

A split is drawn once, when the run begins. Afterwards its images are identified by name and content, whatever was
added, renamed or removed since: a new split of other images would test on images that were trained on.
"""

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from efficient_jax import files
from efficient_jax.data import dataset, identity
from efficient_jax.data.dataset import HELD_OUT, NOTHING, SHOWN_DIGITS, Source
from efficient_jax.data.stream import Streamed
from efficient_jax.errors import UserError, few
from efficient_jax.tasks import TASKS, Task

FILE = "split.csv"
LEFT_OUT = "left out"  # part of the images that the run did not use
GENERATED = "generated"
DIGEST = "label"
NAMED = 3


class Table(NamedTuple):
    """The rows of a `split.csv`, in the order of the image indices."""

    parts: tuple[str, ...]
    names: tuple[str, ...]
    contents: tuple[str, ...]  # as `dataset.contents`
    labels: np.ndarray  # as in `Source`; of pixels their hashes as text, "" where there are none


def text(source: Source, split: Mapping[str, np.ndarray]) -> str:
    """Returns the content of `split.csv`: a line for each image with its part, index, name, content hash and label.

    Args:
        source: the images of the run.
        split: part -> indices of its images. Images in no part are "left out".

    Returns:
        CSV. The label is in the columns of the task: the name of the class, empty where there is none; or of several
        labels 0 and 1 (-1: not known) in columns `label(class)`; or a hash of the classes of all pixels.
    """
    rest = np.setdiff1d(np.arange(len(source.images)), np.concatenate([*split.values()]))
    parts, ids = {**split, LEFT_OUT: rest}, np.concatenate([*split.values(), rest]).astype(int)
    which = np.repeat([*parts], [len(of_part) for of_part in parts.values()])
    names, labels = _label_columns(source, ids)
    columns = [which, ids, [source.name(i) for i in ids], dataset.contents(source, ids), *labels]
    header = ["part", "number", "image", "content", *names]
    return files.csv_text(header, zip(*columns, strict=True))


def read(workdir: Path, classes: Sequence[str], task: Task, where: str) -> Table:
    """Reads the split of a run, without generated images.

    Args:
        workdir: the folder of the run.
        classes: name of each class of the run.
        task: what its labels are.
        where: what an error names.

    Returns: the rows in the order of the image indices.

    Raises: UserError naming `where` for a run without `split.csv`, or with one that is damaged.
    """
    path = workdir / FILE
    if not path.is_file():
        raise UserError(f"{where}: {str(workdir)!r} has no {FILE}, which names its test images; give a run of `train`")
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["part"] != GENERATED]
        rows.sort(key=lambda row: int(row["number"]))
        if [int(row["number"]) for row in rows] != [*range(len(rows))]:
            raise ValueError("it does not name every image once")
        if not rows:
            raise ValueError("it has no rows")
        labels = (
            task.from_columns([[row[name] for row in rows] for name in task.label_columns(classes)], classes)
            if task.by_image
            else np.array([row[DIGEST] for row in rows])
        )
        parts, names, contents = (tuple(row[name] for row in rows) for name in ("part", "image", "content"))
        return Table(parts, names, contents, labels)
    except (OSError, ValueError, KeyError, IndexError, TypeError, csv.Error) as error:
        raise UserError(f"{where}: {str(path)!r} cannot be read ({type(error).__name__}: {error})") from error


def restored(
    source: Source, table: Table, classes: tuple[str, ...], run: Path, where: str, say: Callable[[str], None]
) -> tuple[Source, dict[str, Int[np.ndarray, " m"]]]:
    """Returns the images of a run with its indices, labels and parts, without images that were added since.

    Images are identified by content, equal ones by name; they may have been renamed. Training images that are missing
    or changed are left out of their part. One line says what is different.

    Args:
        source: the images as they are now.
        table: the split of the run.
        classes: names of the classes of the run.
        run: folder of the run, for messages.
        where: what an error names.
        say: shows a line.

    Returns: (images by the indices of the run, part -> indices). An index in no part has no image of its own.

    Raises: UserError naming a test or validation image that is gone or whose content has changed.
    """
    now = dataset.contents(source)
    rows = identity.rows_of(table.names, table.contents, source.names or _indexed(len(now)), now)
    parts = np.array(table.parts)
    missing = np.flatnonzero(rows < 0)
    if len(held_out := missing[np.isin(parts[missing], HELD_OUT)]):
        i, current_names = held_out[0], set(source.names)
        how = "is gone" if current_names else "is gone or changed"
        how = "has other content than in the run" if table.names[i] in current_names else how
        more = f" (and {len(held_out) - 1:,} more)" if len(held_out) > 1 else ""
        raise UserError(
            f"{where}: {parts[i]} image {table.names[i]!r} of {str(run)!r} {how}{more}; put it back: "
            "figures of other images are not those of the run"
        )
    changes = _changes(source, table, classes, rows)
    if changes:
        say(f"{run}: its images are those of {FILE}: {'; '.join(changes)}")
    split = {part: np.flatnonzero((parts == part) & (rows >= 0)) for part in ("labelled", "unlabelled", *HELD_OUT)}
    images = source if np.array_equal(rows, np.arange(len(now))) else _at(source, np.maximum(rows, 0))
    images = images._replace(classes=classes, names=table.names if source.names else ())
    if TASKS[source.task].by_image:
        return images._replace(labels=table.labels), split
    changed = _digests(images) != table.labels
    for part in HELD_OUT:
        if len(other := split[part][changed[split[part]]]):
            raise UserError(
                f"{where}: {part} image {table.names[other[0]]!r} of {str(run)!r} has another label than in the run; "
                "put it back: figures with other labels are not those of the run"
            )
    return images, split


def _changes(source: Source, table: Table, classes: tuple[str, ...], rows: Int[np.ndarray, " n"]) -> list[str]:
    """Describes what is different from the run."""
    present = np.flatnonzero(rows >= 0)
    added = len(source.images) - len(np.unique(rows[present]))
    trained = np.array(table.parts) != LEFT_OUT
    gone = [table.names[i] for i in np.flatnonzero((rows < 0) & trained)]
    renamed = [table.names[i] for i in present if source.names and source.names[rows[i]] != table.names[i]]
    task = TASKS[source.task]
    if task.by_image:
        labels = task.names(source.labels[rows[present]], source.classes), task.names(table.labels[present], classes)
        now, before = ([names and frozenset(names) for names in part] for part in labels)
    else:
        now, before = _digests(_at(source, rows[present])).tolist(), table.labels[present].tolist()
    relabelled = [table.names[i] for i, old, new in zip(present, before, now, strict=True) if old != new]
    changes = [f"{_count(added)} added since and left out"] if added else []
    for names, what in (
        (gone, "of the training gone or changed and left out"),
        (renamed, "renamed"),
        (relabelled, "with another label now" + ", evaluated with that of the run" * task.by_image),
    ):
        if names:
            changes.append(f"{_count(len(names))} {what} ({few(names, NAMED)})")
    return changes


def _label_columns(source: Source, ids: Int[np.ndarray, " m"]) -> tuple[list[str], list[Any]]:
    """Returns (headers, columns) of the labels of some images."""
    task = TASKS[source.task]
    if task.by_image:
        return task.label_columns(source.classes), task.to_columns(source.labels[ids], source.classes)
    return [DIGEST], [_digests(source)[ids].tolist()]


def _digests(source: Source) -> Shaped[np.ndarray, " n"]:
    """Returns a hash of the classes of each image's pixels or of its objects, as text; "" where it has no label."""
    task = TASKS[source.task]
    texts = [
        hashlib.sha256(task.trimmed(labels).tobytes()).hexdigest()[:SHOWN_DIGITS] if known else ""
        for labels, known in zip(source.labels, task.known(source.labels), strict=True)
    ]
    return np.array(texts, str)


def _at(source: Source, rows: Int[np.ndarray, " n"]) -> Source:
    """Returns the images of some rows of a source, without the parts that it fixes."""
    images = source.images.at(rows) if isinstance(source.images, Streamed) else source.images[rows]

    def selected(values: Any) -> Any:
        return None if values is None else values[rows]

    return source._replace(
        images=images,
        labels=source.labels[rows],
        fixed=NOTHING,
        names=tuple(source.names[row] for row in rows) if source.names else (),
        soft_labels=selected(source.soft_labels),
        groups=selected(source.groups),
        objects={name: values[rows] for name, values in source.objects.items()},
        sizes=selected(source.sizes),
        contents=selected(source.contents),
    )


def _indexed(count: int) -> list[str]:
    return [f"image {i}" for i in range(count)]


def _count(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"
