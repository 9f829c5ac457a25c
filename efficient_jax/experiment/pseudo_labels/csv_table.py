"""Stores the pseudo-labels of a stage: `pseudo_labels.csv`, a line for each unlabelled image, and `pseudo_labels.json`,
the teacher, the settings and statistics. Those of large pools are in `shards`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax import files
from efficient_jax.data.dataset import Source
from efficient_jax.experiment.pseudo_labels.audit import audit, of_predictions
from efficient_jax.experiment.pseudo_labels.pool import (
    ABOUT,
    COLUMNS,
    Pool,
    Predict,
    PseudoLabels,
    naming,
    predicted_by,
)
from efficient_jax.files import Json
from efficient_jax.tasks import TASKS, Task
from efficient_jax.training.labels import soft

TABLE = "pseudo_labels.csv"


class Round(NamedTuple):
    """The predictions of a teacher for the unlabelled images, and the pseudo-labels made of them."""

    ids: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n classes"]
    labels: Float[np.ndarray, "n classes"]  # targets of the student; other than the predictions if they are shuffled
    copies: Int[np.ndarray, " n"]  # 0 where the image is not kept


def pseudo_labels(pool: Pool, predict: Predict, origin: Json, say: Callable[[str], None]) -> PseudoLabels:
    """Returns the pseudo-labels of unlabelled images and writes them; predictions of a stage that was interrupted are
    read, if they are those of the same teachers.

    Args:
        pool: the images.
        predict: predicts them.
        origin: what the labels follow from, with the "seed" and the "settings", keyword arguments of the task's
            `pseudo_labels`.
        say: shows a line.

    Raises: UserError for settings that keep no image; OSError where the files cannot be written.
    """
    task, settings = TASKS[pool.source.task], origin["settings"]
    probabilities = read(pool.folder, predicted_by(origin), pool.ids)
    if probabilities is None:
        probabilities = predict(pool.ids)
    else:
        say(f"predictions of {origin['teacher']} are those of {TABLE}")
    assert task.pseudo_labels
    with naming(pool.where):
        labels, copies = task.pseudo_labels(probabilities, origin["seed"], **settings)
    part = of_predictions(pool.source, pool.ids, probabilities, labels, copies, settings["threshold"])
    about = origin | audit(pool.source, pool.labelled, pool.ids, copies, [part], pool.batch)
    write(pool.folder, pool.source, Round(pool.ids, probabilities, labels, copies), about)
    return PseudoLabels(pool.ids, soft(labels, pool.soft_classes, exclusive=task.exclusive), copies, about)


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
        origin: entries of `pseudo_labels.json` that have to be equal, see `predicted_by`.
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


def _names(task: Task, labels: np.ndarray, source: Source) -> list[str]:
    """Returns the classes of each image as text, "" where nobody has labelled it."""
    return ["" if names is None else "; ".join(names) or "nothing" for names in task.names(labels, source.classes)]
