"""Stores the pseudo-labels of a large pool: Parquet files of 65,536 images in `pseudo_labels/`, with the most probable
classes of each image, and `pseudo_labels.json` as for a small pool.

A shard is written as soon as it is predicted, and again with its labels and copies, which follow from all shards. The
next start reads those that are whole. Of several processes each writes its own shards, and all read all. Which images
are kept, and the audit, follow from two columns, the predicted class and its confidence: they are exact. Targets are
those of `training.labels.soft`, of as many classes. The probabilities of the other classes are not kept.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int

from efficient_jax import distributed, files
from efficient_jax.errors import counted, few
from efficient_jax.experiment.pseudo_labels.audit import Part, audit, of_classes
from efficient_jax.experiment.pseudo_labels.pool import ABOUT, Pool, Predict, PseudoLabels, naming, predicted_by
from efficient_jax.experiment.pseudo_labels.shard_files import (
    DAMAGED,
    FOLDER,
    MISSING,
    OTHER,
    WHOLE,
    Shards,
    class_names,
    read,
    state,
    table_of,
    write,
)
from efficient_jax.files import Json
from efficient_jax.tasks import TASKS
from efficient_jax.tasks.selected_images import Selection
from efficient_jax.training.labels import Labels, most_probable, top, width

LARGE = 100_000  # images of a pool from which on it is stored in shards
PREDICTED = 2**28  # bytes of the probabilities that are predicted at a time
BATCH = 512  # of which the images that are predicted at a time are a multiple


def suits(pool: Pool) -> bool:
    """Returns whether a pool is stored in shards: a large one whose images have one class each.

    Args:
        pool: the images.
    """
    return len(pool.ids) >= LARGE and TASKS[pool.source.task].selected is not None


def pseudo_labels(pool: Pool, predict: Predict, origin: Json, say: Callable[[str], None]) -> PseudoLabels:
    """Returns the pseudo-labels of a large pool and writes them, see `csv_table.pseudo_labels`.

    Args:
        pool: the images.
        predict: predicts some of them.
        origin: what the labels follow from, with the "seed" and the "settings", keyword arguments of the task's
            `selected`.
        say: shows a line.

    Raises: UserError for settings that keep no image, and for a shard that is lost meanwhile; OSError where a file
        cannot be written.
    """
    source, classes, select = pool.source, len(pool.source.classes), TASKS[pool.source.task].selected
    kept = width(classes, pool.soft_classes)
    shards = Shards(
        pool, kept, predicted_by(origin) | {"teacher_steps": pool.steps, "top": kept, "classes": source.classes}
    )
    predict_missing(shards, predict, say)
    confidence, predicted = columns(shards)
    assert select
    with naming(pool.where):
        chosen = select(confidence, predicted, classes, origin["seed"], **origin["settings"])
    copies, learned = chosen.copies, predicted.copy()
    learned[chosen.kept] = predicted[chosen.sources]
    parts = parts_of(shards, confidence, predicted, learned, copies)
    statistics = audit(source, pool.labelled, pool.ids, copies, parts, pool.batch)
    complete(shards, learned, copies)
    labels = labels_of(shards, chosen) if chosen.soft else Labels(learned[chosen.kept, None], None)
    about = origin | {"shards": shards.count, "top": kept} | statistics
    files.write_json(pool.folder / ABOUT, about)  # last: where it exists, the shards are complete
    return PseudoLabels(pool.ids[chosen.kept], labels, copies[chosen.kept], about)


def predict_missing(shards: Shards, predict: Predict, say: Callable[[str], None]) -> None:
    """Predicts and writes the shards that are not there, are damaged or follow from something else.

    Args:
        shards: of a pool.
        predict: predicts images by their indices; all processes take part.
        say: shows a line.

    Raises: OSError where one cannot be written.
    """
    folder, mine = shards.pool.folder / FOLDER, distributed.share(shards.count)
    if distributed.is_first():
        folder.mkdir(exist_ok=True)
        for left in folder.glob("*.part"):  # by a process that was killed
            left.unlink()
    own_states = np.zeros((1, shards.count), np.int8)
    own_states[0, mine] = [state(shards, number) for number in mine]
    states = distributed.gathered(own_states).max(0)
    _tell(shards, states, say)
    wanted = np.flatnonzero(states != WHOLE).tolist()
    for place, number in enumerate(wanted, shards.count - len(wanted) + 1):
        most_probable_classes = _predicted(shards, number, predict, number in mine)
        if number in mine:
            write(shards, number, table_of(shards, number, *most_probable_classes))
        say(f"{place:,} of {counted(shards.count, 'shard')} predicted")
    distributed.wait("shards are predicted")


def columns(shards: Shards) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Returns (confidence, predicted class) of all images of a pool.

    Args:
        shards: of the pool, all predicted.

    Raises: UserError for a shard that cannot be read.
    """
    confidence, predicted = (np.empty(len(shards.pool.ids), dtype) for dtype in (np.float32, np.int32))
    for number in range(shards.count):
        table, part = read(shards, number, ["confidence", "class1"]), shards.part(number)
        confidence[part], predicted[part] = table["confidence"], table["class1"]
    return confidence, predicted


def parts_of(
    shards: Shards,
    confidence: Float[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    learned: Int[np.ndarray, " n"],
    copies: Int[np.ndarray, " n"],
) -> Iterator[Part]:
    """Yields what is counted of each shard, see `audit.of_classes`.

    Args:
        shards: of a pool.
        confidence: of each image of the pool.
        predicted: class that the teacher predicts.
        learned: class that the student learns.
        copies: of each image.
    """
    source, ids = shards.pool.source, shards.pool.ids
    for part in map(shards.part, range(shards.count)):
        yield of_classes(source, ids[part], confidence[part], predicted[part], learned[part], copies[part])


def complete(shards: Shards, learned: Int[np.ndarray, " n"], copies: Int[np.ndarray, " n"]) -> None:
    """Writes labels and copies into the shards that do not have them, and removes those of a pool of another size.

    Args:
        shards: of a pool, all predicted.
        learned: class that the student learns of each image.
        copies: of each image.

    Raises: UserError for a shard that cannot be read; OSError where one cannot be written.
    """
    import pyarrow as pa

    for number in distributed.share(shards.count):
        part = shards.part(number)
        wanted = {"label": class_names(shards.pool.source.classes, learned[part]), "copies": pa.array(copies[part])}
        table = read(shards, number, list(wanted))
        if all(table[name].combine_chunks().equals(values) for name, values in wanted.items()):
            continue
        table = read(shards, number)
        for name, values in wanted.items():
            table = table.set_column(table.column_names.index(name), name, values)
        write(shards, number, table)
    distributed.wait("shards are complete")
    if distributed.is_first():
        paths = {shards.path(number) for number in range(shards.count)}
        for other in set((shards.pool.folder / FOLDER).glob("part-*-of-*.parquet")) - paths:
            other.unlink()


def labels_of(shards: Shards, chosen: Selection) -> Labels:
    """Returns the soft labels of the images that are kept.

    Args:
        shards: of a pool, all predicted.
        chosen: which images are kept, with whose labels.

    Raises: UserError for a shard that cannot be read.
    """
    task, classes = TASKS[shards.pool.source.task], len(shards.pool.source.classes)
    size, kept = (len(chosen.kept), shards.top), chosen.kept
    labels = Labels(None if shards.top == classes else np.empty(size, np.int32), np.empty(size, np.float32))
    names = shards.class_columns, shards.probability_columns
    for number in range(shards.count):
        part = shards.part(number)
        first, end = np.searchsorted(kept, [part.start, part.stop])
        table, rows = read(shards, number, [*names[0], *names[1]]), kept[first:end] - part.start
        ids, probabilities = (np.stack([table[name].to_numpy()[rows] for name in group], 1) for group in names)
        some = most_probable(ids, probabilities, classes, exclusive=task.exclusive)
        for all_values, values in zip(labels, some, strict=True):
            if all_values is not None:
                all_values[first:end] = values
    if chosen.sources is kept:
        return labels
    places = np.searchsorted(kept, chosen.sources)
    return Labels(*(None if values is None else values[places] for values in labels))


def _predicted(
    shards: Shards, number: int, predict: Predict, mine: bool
) -> tuple[Int[np.ndarray, "n top"], Float[np.ndarray, "n top"]]:
    """Returns (most probable classes of a shard, their probabilities); none where another process writes it."""
    ids, classes = shards.pool.ids[shards.part(number)], len(shards.pool.source.classes)
    size = max(PREDICTED // (4 * classes) // BATCH, 1) * BATCH
    parts = [top(np.zeros((0, classes), np.float32), shards.top)]
    for start in range(0, len(ids), size):
        predicted = predict(ids[start : start + size])
        parts += [top(predicted, shards.top)] if mine else []
    indices, probabilities = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return indices, probabilities


def _tell(shards: Shards, states: Int[np.ndarray, " shards"], say: Callable[[str], None]) -> None:
    """Shows what is read of the shards, and what is predicted again; nothing where there are none."""
    if (states == MISSING).all():
        return
    names = {what: [shards.path(i).name for i in np.flatnonzero(states == what).tolist()] for what in range(4)}
    if names[WHOLE]:
        count = counted(shards.count, "shard")
        say(f"predictions of {shards.about['teacher']} are those of {len(names[WHOLE]):,} of {count} in {FOLDER}/")
    for what, is_what in {
        MISSING: "not there",
        DAMAGED: "damaged",
        OTHER: "of another teacher or of other images",
    }.items():
        if names[what]:
            say(f"{FOLDER}/: {few(names[what])} {'is' if len(names[what]) == 1 else 'are'} {is_what}: predicted again")
