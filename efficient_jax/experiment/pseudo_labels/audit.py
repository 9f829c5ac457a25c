"""Counts pseudo-labels of images: by class, by confidence, and how many are right where the true label is known."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from efficient_jax.data.dataset import Source
from efficient_jax.errors import counted, few
from efficient_jax.tasks import TASKS, Task

CONFIDENCES = np.array([0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0], np.float32)
BINS = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(CONFIDENCES)]
NAMED = 10
CHUNK = 2**16  # images that are counted at a time
NUMBERS = ("pool", "pool_known", "pool_right", "kept", "right", "wrong", "unknown", "copies")


class Entries(NamedTuple):
    """Labels, each of one image and one class."""

    class_indices: Int[np.ndarray, " e"]
    confidence: Float[np.ndarray, " e"]  # of the teacher in the image, or in the class of the image
    present: Bool[np.ndarray, " e"]  # whether the image is said to have the class
    known: Bool[np.ndarray, " e"]  # whether the true label is known
    right: Bool[np.ndarray, " e"]  # whether it is the same
    copies: Int[np.ndarray, " e"]  # of the image


Part = tuple[Entries, Entries]
"""Labels that a teacher predicts, and those that are learned, of the same images of a pool."""


def audit(
    source: Source,
    labelled: Int[np.ndarray, " m"],
    ids: Int[np.ndarray, " n"],
    copies: Int[np.ndarray, " n"],
    parts: Iterable[Part],
    batch: int,
) -> dict[str, Any]:
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
        ids: indices of the unlabelled images.
        copies: of each of these, 0 where it is not kept.
        parts: the labels, as from `of_predictions` or `of_classes`.
        batch: pseudo-labelled images of one step.
    """
    task, k = TASKS[source.task], len(source.classes)
    by_class, by_bin = np.zeros((len(NUMBERS), k), np.int64), np.zeros((len(NUMBERS), len(BINS)), np.int64)
    for pool, kept in parts:
        by_class += _numbers(_where(pool, pool.present), _where(kept, kept.present), _class_indices, k)
        by_bin += _numbers(pool, kept, _bins, len(BINS))
    classes, levels = _rows(source.classes, by_class), _rows(BINS, by_bin)
    labelled_counts, true = (_members(task, source, rows) for rows in (labelled, ids))
    for number, row in enumerate(classes):
        row |= {"labelled": int(labelled_counts[number]), "true": int(true[number]), "copies": row.pop("copies")}
    without = [row["name"] for row in classes if not row["kept"]]
    warnings = []
    kept_count = int((copies > 0).sum())
    if kept_count < batch:
        less = counted(kept_count, "image is", "images are")
        warnings.append(f"{less} less than one batch of {batch}; lower pseudo_labels.threshold")
    if without:
        warnings.append(f"classes without pseudo-labels: {few(without, NAMED)}")
    for row in levels:
        del row["copies"]
    return {
        "pool": len(ids),
        "kept": kept_count,
        "known": sum(row["right"] + row["wrong"] for row in levels),
        **{name: sum(row[name] for row in levels) for name in ("right", "pool_known", "pool_right")},
        "classes": classes,
        "confidence": levels,
        "without": without,
        "warnings": warnings,
    }


def of_predictions(
    source: Source,
    ids: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n classes"],
    labels: Float[np.ndarray, "n classes"],
    copies: Int[np.ndarray, " n"],
    threshold: float,
) -> Part:
    """Returns the labels of a pool by all their probabilities.

    Args:
        source: the dataset.
        ids: indices of the images.
        probabilities: predictions of the teacher.
        labels: targets of the student.
        copies: of each image.
        threshold: from which on a label is kept.
    """
    k, task = len(source.classes), TASKS[source.task]
    assert task.confidence
    assert task.decided
    truth = source.labels[ids]
    known, true = np.repeat(task.known(truth)[:, None], k, axis=1), task.members(truth, k)
    confidence, class_indices = task.confidence(probabilities), np.broadcast_to(np.arange(k), known.shape)

    def entries(values: np.ndarray, counts: Bool[np.ndarray, "n classes"]) -> Entries:
        has = task.members(task.answers(values, ()), k)
        columns = class_indices, confidence, has, known, has == true, np.repeat(copies[:, None], k, axis=1)
        return Entries(*(column[counts] for column in columns))

    used = (copies[:, None] > 0) & task.decided(labels, threshold)
    return entries(probabilities, task.decided(probabilities, 0.0)), entries(labels, used)


def of_classes(
    source: Source,
    ids: Int[np.ndarray, " n"],
    confidence: Float[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    learned: Int[np.ndarray, " n"],
    copies: Int[np.ndarray, " n"],
) -> Part:
    """Returns the labels of a pool whose images have one class each.

    Args:
        source: the dataset.
        ids: indices of the images.
        confidence: of the teacher.
        predicted: class that it predicts.
        learned: class that the student learns.
        copies: of each image.
    """
    truth = source.labels[ids]
    known = TASKS[source.task].known(truth)

    def entries(class_indices: Int[np.ndarray, " n"]) -> Entries:
        return Entries(class_indices, confidence, np.ones_like(known), known, class_indices == truth, copies)

    return entries(predicted), _where(entries(learned), copies > 0)


def _where(entries: Entries, mask: Bool[np.ndarray, " e"]) -> Entries:
    return Entries(*(column[mask] for column in entries))


def _class_indices(entries: Entries) -> Int[np.ndarray, " e"]:
    return entries.class_indices


def _bins(entries: Entries) -> Int[np.ndarray, " e"]:
    return np.asarray(np.digitize(entries.confidence, CONFIDENCES[1:-1]))


def _numbers(
    pool: Entries, kept: Entries, group: Callable[[Entries], np.ndarray], length: int
) -> Int[np.ndarray, "numbers length"]:
    """Returns `NUMBERS` of each group of labels."""
    pool_group, kept_group = group(pool), group(kept)
    masks = (
        (pool_group, np.ones_like(pool.known)),
        (pool_group, pool.known),
        (pool_group, pool.known & pool.right),
        (kept_group, np.ones_like(kept.known)),
        (kept_group, kept.known & kept.right),
        (kept_group, kept.known & ~kept.right),
        (kept_group, ~kept.known),
    )
    counts = [np.bincount(group[mask], minlength=length) for group, mask in masks]
    copies = np.bincount(kept_group, kept.copies, length)  # float64, exact up to 2^53
    return np.stack([*counts, copies.astype(np.int64)])


def _rows(names: Sequence[str], numbers: Int[np.ndarray, "numbers length"]) -> list[dict[str, Any]]:
    return [
        {"name": name} | dict(zip(NUMBERS, column, strict=True))
        for name, column in zip(names, numbers.T.tolist(), strict=True)
    ]


def _members(task: Task, source: Source, ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " classes"]:
    """Returns how many of some images have each class; those without a label have none."""
    ids, k = ids[task.known(source.labels[ids])], len(source.classes)
    counts = np.zeros(k, np.int64)
    for start in range(0, len(ids), CHUNK):
        counts += task.members(source.labels[ids[start : start + CHUNK]], k).sum(0)
    return counts
