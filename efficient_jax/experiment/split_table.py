"""`split.csv` of a run: which image is in which part of the split.

A split is drawn once, when the run begins. Afterwards its images are identified by name and content, whatever was
added, renamed or removed since: a new split of other images would test on images that were trained on.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

from efficient_jax import files
from efficient_jax.data import dataset, identity
from efficient_jax.data.dataset import HELD_OUT, NOTHING, SHOWN_DIGITS, Source
from efficient_jax.data.known import SHARD, chunks
from efficient_jax.data.names import Names, of_column
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

    parts: tuple[str, ...]  # their names
    part_of: Int[np.ndarray, " n"]  # the part of each image
    names: Names
    contents: Shaped[np.ndarray, " n"]  # as `dataset.digits`
    labels: np.ndarray  # as in `Source`; of pixels their hashes as text, "" where there are none

    def within(self, *parts: str) -> Bool[np.ndarray, " n"]:
        """Returns which images are in one of some parts.

        Args:
            parts: their names.
        """
        return np.isin(self.part_of, [number for number, part in enumerate(self.parts) if part in parts])


def lines(source: Source, split: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """Yields the content of `split.csv`: a line for each image with its part, index, name, content hash and label.

    Args:
        source: the images of the run.
        split: part -> indices of its images. Images in no part are "left out".

    Yields:
        CSV, some thousand lines at once. The label is in the columns of the task: the name of the class, empty where
        there is none; or of several labels 0 and 1 (-1: not known) in columns `label(class)`; or a hash of the classes
        of all pixels.
    """
    task = TASKS[source.task]
    labels = task.label_columns(source.classes) if task.by_image else [DIGEST]
    yield files.csv_text(["part", "number", "image", "content", *labels], []).encode()
    rest = np.setdiff1d(np.arange(len(source.images)), np.concatenate([*split.values()]))
    for part, of_part in {**split, LEFT_OUT: rest}.items():
        for ids in chunks(np.asarray(of_part).astype(int)):
            columns = [part] * len(ids), ids, map(source.name, ids), dataset.contents(source, ids)
            first, *others = zip(*columns, *_label_columns(source, ids), strict=True)
            yield files.csv_text(first, others).encode()


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
    import pyarrow as pa
    from pyarrow import csv

    path = workdir / FILE
    if not path.is_file():
        raise UserError(f"{where}: {str(workdir)!r} has no {FILE}, which names its test images; give a run of `train`")
    names = ["part", "image", "content", *(task.label_columns(classes) if task.by_image else [DIGEST])]
    types = dict.fromkeys(names, pa.string()) | {"number": pa.int64()}
    try:
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=types, include_columns=[*types]),
        )
        part_of = table["part"].combine_chunks().dictionary_encode()
        parts, numbers = tuple(part_of.dictionary.to_pylist()), table["number"].to_numpy()
        rows = np.flatnonzero(part_of.indices.to_numpy() != (parts.index(GENERATED) if GENERATED in parts else -1))
        rows = rows[np.argsort(numbers[rows], kind="stable")]
        if not np.array_equal(numbers[rows], np.arange(len(rows))):
            raise ValueError("it does not name every image once")
        if not len(rows):
            raise ValueError("it has no rows")

        def texts(*names: str) -> Iterator[list[list[str]]]:
            columns = table.select(names).take(rows)
            return ([column.to_pylist() for column in columns[i : i + SHARD]] for i in range(0, len(rows), SHARD))

        labels = np.concatenate(
            [
                task.from_columns(columns, classes) if task.by_image else np.array(columns[0], str)
                for columns in texts(*names[3:])
            ]
        )
        contents = np.concatenate([np.array(column, "S") for (column,) in texts("content")])
        return Table(parts, part_of.indices.to_numpy()[rows], Names(of_column(table["image"]), rows), contents, labels)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
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
    hashes = identity.digests(source.images[:]) if source.contents is None else source.contents
    names = source.names or (f"image {i}" for i in range(len(hashes)))
    rows = identity.rows_of(table.names, table.contents, names, dataset.digits(hashes))
    if len(held_out := np.flatnonzero((rows < 0) & table.within(*HELD_OUT))):
        i = held_out[0]
        how = "is gone" if source.names else "is gone or changed"
        how = "has other content than in the run" if table.names[i] in source.names else how
        more = f" (and {len(held_out) - 1:,} more)" if len(held_out) > 1 else ""
        raise UserError(
            f"{where}: {table.parts[table.part_of[i]]} image {table.names[i]!r} of {str(run)!r} {how}{more}; put it "
            "back: figures of other images are not those of the run"
        )
    present = np.flatnonzero(rows >= 0)
    renamed = [table.names[i] for i in present if source.names and source.names[rows[i]] != table.names[i]]
    if changes := _changes(source, table, classes, rows, renamed):
        say(f"{run}: its images are those of {FILE}: {'; '.join(changes)}")
    split = {
        part: np.flatnonzero(table.within(part) & (rows >= 0)).astype(np.int32)
        for part in ("labelled", "unlabelled", *HELD_OUT)
    }
    images = source if np.array_equal(rows, np.arange(len(hashes))) else _at(source, np.maximum(rows, 0))
    if source.names and (renamed or len(present) < len(rows)):
        images = images._replace(names=table.names)
    images = images._replace(classes=classes)
    if TASKS[source.task].by_image:
        return images._replace(labels=table.labels), split
    changed = _digests(images, slice(None)) != table.labels
    for part in HELD_OUT:
        if len(other := split[part][changed[split[part]]]):
            raise UserError(
                f"{where}: {part} image {table.names[other[0]]!r} of {str(run)!r} has another label than in the run; "
                "put it back: figures with other labels are not those of the run"
            )
    return images, split


def _changes(
    source: Source, table: Table, classes: tuple[str, ...], rows: Int[np.ndarray, " n"], renamed: list[str]
) -> list[str]:
    """Describes what is different from the run."""
    present = np.flatnonzero(rows >= 0)
    added = len(source.images) - len(np.unique(rows[present]))
    gone = [table.names[i] for i in np.flatnonzero((rows < 0) & ~table.within(LEFT_OUT))]
    other = [_other_labels(source, rows[ids], table.labels[ids], classes) for ids in chunks(present)]
    relabelled = [table.names[i] for i in present[np.concatenate([np.zeros(0, bool), *other])]]
    changes = [f"{_count(added)} added since and left out"] if added else []
    for names, what in (
        (gone, "of the training gone or changed and left out"),
        (renamed, "renamed"),
        (relabelled, "with another label now" + ", evaluated with that of the run" * TASKS[source.task].by_image),
    ):
        if names:
            changes.append(f"{_count(len(names))} {what} ({few(names, NAMED)})")
    return changes


def _other_labels(
    source: Source, ids: Int[np.ndarray, " m"], before: np.ndarray, classes: tuple[str, ...]
) -> Bool[np.ndarray, " m"]:
    """Returns which images have another label than before, when the classes were `classes`."""
    task = TASKS[source.task]
    if not task.by_image:
        differs: np.ndarray = _digests(source, ids) != before
        return differs
    either = tuple(dict.fromkeys((*source.classes, *classes)))
    has, known = [], []
    for labels, names in ((source.labels[ids], source.classes), (before, classes)):
        members = np.zeros((len(ids), len(either)), bool)
        members[:, [either.index(name) for name in names]] = task.members(labels, len(names))
        has.append(members)
        known.append(task.known(labels))
    other: np.ndarray = (known[0] != known[1]) | (known[0] & known[1] & np.any(has[0] != has[1], axis=1))
    return other


def _label_columns(source: Source, ids: Int[np.ndarray, " m"]) -> list[Any]:
    """Returns the columns of the labels of some images."""
    task = TASKS[source.task]
    return task.to_columns(source.labels[ids], source.classes) if task.by_image else [_digests(source, ids).tolist()]


def _digests(source: Source, ids: Any) -> Shaped[np.ndarray, " m"]:
    """Returns a hash of the classes of each image's pixels or of its objects, as text; "" where it has no label."""
    task, labels = TASKS[source.task], source.labels[ids]
    texts = [
        hashlib.sha256(task.trimmed(label).tobytes()).hexdigest()[:SHOWN_DIGITS] if known else ""
        for label, known in zip(labels, task.known(labels), strict=True)
    ]
    return np.array(texts, str)


def _at(source: Source, rows: Int[np.ndarray, " n"]) -> Source:
    """Returns the images of some rows of a source, without the parts that it fixes."""

    def selected(values: Any) -> Any:
        return None if values is None else values[rows]

    names: Sequence[str] = tuple(source.names[row] for row in rows) if source.names else ()
    if isinstance(source.images, Streamed):
        images: Any = source.images.at(rows)
        known = {"sizes": images.known.sizes, "contents": images.known.contents, "names": images.known.names or names}
    else:
        images = source.images[rows]
        known = {"sizes": selected(source.sizes), "contents": selected(source.contents), "names": names}
    return source._replace(
        images=images,
        labels=source.labels[rows],
        fixed=NOTHING,
        soft_labels=selected(source.soft_labels),
        groups=selected(source.groups),
        objects={name: values[rows] for name, values in source.objects.items()},
        **known,
    )


def _count(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"
