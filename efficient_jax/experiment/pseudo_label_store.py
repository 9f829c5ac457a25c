"""The store of a round of pseudo-labels: `pseudo_labels.csv`, a line for each image of the pool, and
`pseudo_labels.json`, who said so and what came of it."""

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
    """What a teacher said of the unlabelled images, and what was made of it."""

    ids: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n classes"]
    labels: Float[np.ndarray, "n classes"]  # learned from; with shuffled ones not what the teacher said
    copies: Int[np.ndarray, " n"]  # 0 where the image is not kept
    threshold: float


def write(folder: Path, source: Source, found: Round, about: Mapping[str, Any]) -> None:
    """Writes both files, each whole or not at all.

    In the table `hidden` is what a person said, shown to no model, "" where nobody did; the confidence that of the
    surest label; names of several labels stand behind each other with a semicolon.

    Args:
        folder: of the stage.
        source: the dataset.
        found: the round.
        about: who said so and what came of it, as JSON.
    """
    import pyarrow as pa  # a quarter of a second, which runs without pseudo-labels need not pay
    from pyarrow import csv

    task = TASKS[source.task]
    label, truth = _names(task, task.answers(found.labels, ()), source), _names(task, source.labels[found.ids], source)
    assert task.confidence
    confidence = task.confidence(found.probabilities).max(1)
    columns = [found.ids, [source.name(i) for i in found.ids], label, confidence, found.copies, truth]
    names = [*COLUMNS, *(f"p({name})" for name in source.classes)]
    table = pa.Table.from_arrays([pa.array(each) for each in (*columns, *found.probabilities.T)], names)
    with files.whole(folder / TABLE) as file:
        csv.write_csv(table, file)  # floats by the shortest decimals that give the same bits when read
    files.write_json(folder / ABOUT, about)  # last: it vouches for the table


def read(folder: Path, asked: Mapping[str, Any], ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n classes"] | None:
    """The probabilities of the store in `folder`; None unless it is of the images `ids` and `asked` in all respects."""
    if not (folder / ABOUT).is_file() or not (folder / TABLE).is_file():
        return None
    about = files.read_json(folder / ABOUT)
    if {name: about.get(name) for name in asked} != asked:
        return None
    import pyarrow as pa
    from pyarrow import csv

    names = [f"f{number}" for number in range(len(COLUMNS) + len(about["classes"]))]
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


def audit(source: Source, labelled: Int[np.ndarray, " m"], found: Round, batch: int) -> dict[str, Any]:
    """What to know of a round before training on it, as JSON.

    pool, kept       images
    known, right     of the labels kept those of which a person's is known, and of them those that agree
    pool_known, pool_right                 the same of all that the teacher said
    classes          for each, beside its `labelled` images, `copies` and those `true` in the pool, how many images are
                     taken for it: in the `pool`, and of the `kept` ones (`right`, `wrong`, `unknown`)
    confidence       the same for each bin of confidence
    without          classes of which no pseudo-label was kept
    warnings         lines for people

    Where an image can have several labels, known and right, and the bins, count each label that the teacher is certain
    of, present or absent; the classes those present.

    Args:
        source: the dataset.
        labelled: indices of the labelled images.
        found: the round.
        batch: pseudo-labelled images of one step.
    """
    k, task = len(source.classes), TASKS[source.task]
    assert task.confidence
    assert task.decided
    truth = source.labels[found.ids]
    known, present = np.repeat(task.known(truth)[:, None], k, axis=1), task.members(truth, k)
    counts = task.members(source.labels[labelled], k).sum(0)
    taught, used_labels = (task.members(task.answers(p, ()), k) for p in (found.probabilities, found.labels))
    confidence = task.confidence(found.probabilities)
    pool = task.decided(found.probabilities, 0.0)
    used = (found.copies[:, None] > 0) & task.decided(found.labels, found.threshold)
    judged = known, taught == present, used_labels == present
    shape = np.broadcast_to(np.arange(k), taught.shape)
    classes = _table(source.classes, shape, pool & taught, used & used_labels, *judged)
    copies = (used & used_labels).T @ found.copies
    for number, row in enumerate(classes):
        row |= {"labelled": int(counts[number]), "true": int(present[:, number].sum()), "copies": int(copies[number])}
    bins = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(CONFIDENCES)]
    levels = _table(bins, np.digitize(confidence, CONFIDENCES[1:-1]), pool, used, *judged)
    without = [row["name"] for row in classes if not row["kept"]]
    warnings = []
    kept = int((found.copies > 0).sum())
    if kept < batch:
        less = counted(kept, "image is", "images are")
        warnings.append(f"{less} less than one batch of {batch}; lower pseudo_labels.threshold")
    if without:
        warnings.append(f"classes without pseudo-labels: {few(without, NAMED)}")
    return {
        "pool": len(found.ids),
        "kept": kept,
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
    said_right: Bool[np.ndarray, "n classes"],
    given_right: Bool[np.ndarray, "n classes"],
) -> list[dict[str, Any]]:
    """A row for each of `names`, which `group` counts, of what the teacher said and of what is used of it."""
    masks = {
        "pool": pool,
        "pool_known": pool & known,
        "pool_right": pool & known & said_right,
        "kept": used,
        "right": used & known & given_right,
        "wrong": used & known & ~given_right,
        "unknown": used & ~known,
    }
    counts = {name: np.bincount(group[mask], minlength=len(names)).tolist() for name, mask in masks.items()}
    return [{"name": name} | {of: counts[of][i] for of in counts} for i, name in enumerate(names)]


def _names(task: Task, labels: np.ndarray, source: Source) -> list[str]:
    """Returns the classes of each image as text, "" where nobody has labelled it."""
    return ["" if names is None else "; ".join(names) or "nothing" for names in task.names(labels, source.classes)]
