"""Stores the pseudo-labels of a stage: `pseudo_labels.csv`, a line for each unlabelled image, and `pseudo_labels.json`,
the teacher, the settings and statistics."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from efficient_jax import files
from efficient_jax.data.dataset import Source
from efficient_jax.errors import counted, few
from efficient_jax.tasks import TASKS, Task

TABLE, ABOUT = "pseudo_labels.csv", "pseudo_labels.json"
COLUMNS = ("id", "image", "label", "confidence", "copies", "hidden")  # then p(class) for each class
CONFIDENCES = np.array([0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0], np.float32)
NAMED = 10


class Round(NamedTuple):
    """The predictions of a teacher for the unlabelled images, and the pseudo-labels made of them."""

    ids: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n classes"]
    labels: Float[np.ndarray, "n classes"]  # targets of the student; other than the predictions if they are shuffled
    copies: Int[np.ndarray, " n"]  # 0 where the image is not kept
    threshold: float


def write(folder: Path, source: Source, pseudo_labels: Round, record: Mapping[str, Any]) -> None:
    """Writes both files, each whole or not at all.

    In the table, `hidden` is the true label, which no model sees, "" where it is not known; `confidence` is that of the
    most certain label; several labels are separated by semicolons.

    Args:
        folder: folder of the stage.
        source: the dataset.
        pseudo_labels: what is written.
        record: the teacher, the settings and statistics, as JSON.
    """
    import pyarrow as pa  # takes 0.25 s, which runs without pseudo-labels save
    from pyarrow import csv

    task = TASKS[source.task]
    ids, probabilities = pseudo_labels.ids, pseudo_labels.probabilities
    label = _names(task, task.answers(pseudo_labels.labels, ()), source)
    truth = _names(task, source.labels[ids], source)
    assert task.confidence
    confidence = task.confidence(probabilities).max(1)
    columns = [ids, [source.name(i) for i in ids], label, confidence, pseudo_labels.copies, truth]
    names = [*COLUMNS, *(f"p({name})" for name in source.classes)]
    table = pa.Table.from_arrays([pa.array(column) for column in (*columns, *probabilities.T)], names)
    with files.whole(folder / TABLE) as file:
        csv.write_csv(table, file)  # floats by the shortest decimals that give the same bits when read
    files.write_json(folder / ABOUT, record)  # last: where it exists, the table is complete


def read(folder: Path, origin: Mapping[str, Any], ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n classes"] | None:
    """Reads the predictions of a teacher from the folder of a stage, if they are the wanted ones.

    Args:
        folder: folder of the stage.
        origin: entries of `pseudo_labels.json` that have to be equal, such as the teacher and the settings.
        ids: indices of the images, which have to be equal too.

    Returns: the probabilities; None where there are none, or others.
    """
    if not (folder / ABOUT).is_file() or not (folder / TABLE).is_file():
        return None
    record = files.read_json(folder / ABOUT)
    if {name: record.get(name) for name in origin} != origin:
        return None
    import pyarrow as pa
    from pyarrow import csv

    names = [f"f{number}" for number in range(len(COLUMNS) + len(record["classes"]))]
    table = csv.read_csv(
        folder / TABLE,
        csv.ReadOptions(skip_rows_after_names=1, column_names=names),  # by position: two classes may have one name
        csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types={"f0": pa.int32()} | dict.fromkeys(names[len(COLUMNS) :], pa.float32()),
            include_columns=["f0", *names[len(COLUMNS) :]],
        ),
    )
    if not np.array_equal(table["f0"], ids):
        return None
    return np.stack([column.to_numpy() for column in table.columns[1:]], axis=1)


def audit(source: Source, labelled: Int[np.ndarray, " m"], pseudo_labels: Round, batch: int) -> dict[str, Any]:
    """Returns statistics of pseudo-labels, as JSON.

    pool, kept              unlabelled images, and those of them that are kept
    known, right            kept labels of images with a known true label, and those of them that equal it
    pool_known, pool_right  the same for all predictions
    classes                 for each class the images predicted as it, in the `pool` and among the `kept` ones (`right`,
                            `wrong`, `unknown`); its `labelled` images, its `copies`, and the `true` ones in the pool
    confidence              the same numbers of images for each bin of confidence
    without                 classes without pseudo-labels
    warnings                lines to show

    Where an image can have several labels, "known", "right" and the bins count every label of which the teacher is
    certain, present or absent; the classes count those that are present.

    Args:
        source: the dataset.
        labelled: indices of the labelled images.
        pseudo_labels: predictions and labels.
        batch: pseudo-labelled images of one step.
    """
    k, task = len(source.classes), TASKS[source.task]
    assert task.confidence
    assert task.decided
    truth = source.labels[pseudo_labels.ids]
    known, present = np.repeat(task.known(truth)[:, None], k, axis=1), task.members(truth, k)
    counts = task.members(source.labels[labelled], k).sum(0)
    probabilities, labels = pseudo_labels.probabilities, pseudo_labels.labels
    predicted, used_labels = (task.members(task.answers(p, ()), k) for p in (probabilities, labels))
    confidence = task.confidence(probabilities)
    pool = task.decided(probabilities, 0.0)
    used = (pseudo_labels.copies[:, None] > 0) & task.decided(labels, pseudo_labels.threshold)
    correct = known, predicted == present, used_labels == present
    class_indices = np.broadcast_to(np.arange(k), predicted.shape)
    classes = _table(source.classes, class_indices, pool & predicted, used & used_labels, *correct)
    copies = (used & used_labels).T @ pseudo_labels.copies
    for number, row in enumerate(classes):
        row |= {"labelled": int(counts[number]), "true": int(present[:, number].sum()), "copies": int(copies[number])}
    bins = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(CONFIDENCES)]
    levels = _table(bins, np.digitize(confidence, CONFIDENCES[1:-1]), pool, used, *correct)
    without = [row["name"] for row in classes if not row["kept"]]
    warnings = []
    kept_count = int((pseudo_labels.copies > 0).sum())
    if kept_count < batch:
        less = counted(kept_count, "image is", "images are")
        warnings.append(f"{less} less than one batch of {batch}; lower pseudo_labels.threshold")
    if without:
        warnings.append(f"classes without pseudo-labels: {few(without, NAMED)}")
    return {
        "pool": len(pseudo_labels.ids),
        "kept": kept_count,
        "known": sum(row["right"] + row["wrong"] for row in levels),
        **{name: sum(row[name] for row in levels) for name in ("right", "pool_known", "pool_right")},
        "classes": classes,
        "confidence": levels,
        "without": without,
        "warnings": warnings,
    }


def _table(
    names: Sequence[str],
    group: Int[np.ndarray, "n classes"],
    pool: Bool[np.ndarray, "n classes"],
    used: Bool[np.ndarray, "n classes"],
    known: Bool[np.ndarray, "n classes"],
    pool_right: Bool[np.ndarray, "n classes"],
    used_right: Bool[np.ndarray, "n classes"],
) -> list[dict[str, Any]]:
    """Returns counts of predictions (`pool`) and of labels that are used, a row for each name; `group`: which row."""
    masks = {
        "pool": pool,
        "pool_known": pool & known,
        "pool_right": pool & known & pool_right,
        "kept": used,
        "right": used & known & used_right,
        "wrong": used & known & ~used_right,
        "unknown": used & ~known,
    }
    counts = {name: np.bincount(group[mask], minlength=len(names)).tolist() for name, mask in masks.items()}
    return [{"name": name} | {key: counts[key][i] for key in counts} for i, name in enumerate(names)]


def _names(task: Task, labels: np.ndarray, source: Source) -> list[str]:
    """Returns the classes of each image as text, "" where nobody has labelled it."""
    return ["" if names is None else "; ".join(names) or "nothing" for names in task.names(labels, source.classes)]
