"""Pseudo-labels of parts of images: the pixels and the objects of which a teacher is sure, with their statistics.

They are in `pseudo_labels.npz`, the statistics in `pseudo_labels.json`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from efficient_jax import files
from efficient_jax.data.dataset import Source
from efficient_jax.detection.mean_average_precision import matches
from efficient_jax.detection.rows import CLASS, VISIBLE, boxes_of
from efficient_jax.errors import UserError, few
from efficient_jax.experiment.pseudo_labels.audit import BINS, CONFIDENCES, NAMED
from efficient_jax.experiment.pseudo_labels.pool import ABOUT, Predict
from efficient_jax.files import Json
from efficient_jax.metrics.classification import NOT_COUNTED
from efficient_jax.settings import Settings
from efficient_jax.tasks import TASKS

ARRAYS = "pseudo_labels.npz"
CHUNK = 256  # images that are predicted together: probabilities of all pixels are many
NUMBERS = ("pool", "pool_known", "pool_right", "kept", "kept_known", "right")
"""Parts that are predicted: all, of a known class, right; then the same of those that are kept."""
IOU_HALF = 0  # index of an IoU of 0.5 among the thresholds of average precision


def pseudo_labels(
    folder: Path, source: Source, ids: Int[np.ndarray, " n"], predict: Predict, settings: Settings, origin: Json
) -> tuple[np.ndarray, Json]:
    """Returns the pseudo-labels of unlabelled images and writes them; those of a stage that was interrupted are read.

    Args:
        folder: folder of the stage.
        source: the dataset; the true labels that it knows are counted, and not learned.
        ids: indices of the images.
        predict: predicts them, at the size of the teacher's images.
        settings: keyword arguments of the task's `pseudo_labels`.
        origin: what the labels follow from, such as the teacher and the settings.

    Returns: (labels [n ...] as the task has them; statistics in pixels or boxes).

    Raises: UserError where no part reaches the threshold.
    """
    if (folder / ABOUT).is_file() and (folder / ARRAYS).is_file():
        about = files.read_json(folder / ABOUT)
        with np.load(folder / ARRAYS) as arrays:
            if {name: about.get(name) for name in origin} == origin and np.array_equal(arrays["id"], ids):
                return arrays["label"], about
    unit, make = MAKERS[source.task]
    labels, numbers, highest = make(source, ids, predict, settings)
    if not numbers[0, NUMBERS.index("kept")].any():
        raise UserError(
            f"pseudo_labels.threshold: no {unit} reaches {settings['threshold']}; the highest confidence is "
            f"{highest:.3f}"
        )
    about = dict(origin) | _statistics(unit, numbers, source.classes)
    files.write_npz(folder / ARRAYS, {"id": ids, "label": labels})
    files.write_json(folder / ABOUT, about)  # last: where it exists, the labels are complete
    return labels, about


Numbers = Int[np.ndarray, "2 6 length"]
"""`NUMBERS` by predicted class, and by bin of confidence."""


def _maps(
    source: Source, ids: Int[np.ndarray, " n"], predict: Predict, settings: Settings
) -> tuple[UInt8[np.ndarray, "n h w"], Numbers, float]:
    """Returns (class index of each pixel, 255 where the teacher is not sure; numbers of pixels; highest confidence)."""
    task, size = TASKS[source.task], source.labels.shape[1]
    assert task.pseudo_labels
    length = max(len(source.classes), len(BINS))
    maps, numbers, highest = [], np.zeros((2, len(NUMBERS), length), np.int64), 0.0
    for start in range(0, len(ids), CHUNK):
        rows = ids[start : start + CHUNK]
        probabilities = predict(rows)
        labels, _ = task.pseudo_labels(probabilities, 0, **settings)
        predicted = labels, task.answers(probabilities, ()), _bin(probabilities.max(-1))
        kept, answers, bins = (task.resized(x.astype(np.uint8), x.shape[1:3], size) for x in predicted)
        truth = source.labels[rows]
        known = truth != NOT_COUNTED
        numbers += _numbers((answers, bins), known, answers == truth, kept != NOT_COUNTED, length)
        highest = max(highest, float(probabilities.max()))
        maps.append(kept)
    return np.concatenate(maps), numbers, highest


def _boxes(
    source: Source, ids: Int[np.ndarray, " n"], predict: Predict, settings: Settings
) -> tuple[Float[np.ndarray, "n _rows 6"], Numbers, float]:
    """Returns (rows of the boxes of which the teacher is sure; numbers of boxes; highest score).

    A box is right if it is matched to a true one of its class at an IoU of 0.5.
    """
    task, predictions = TASKS[source.task], predict(ids)
    assert task.pseudo_labels
    labels, _ = task.pseudo_labels(predictions, 0, **settings)
    most = max(1, int((labels[..., VISIBLE] > 0).sum(1).max()))
    there, right = predictions[..., VISIBLE] > 0, np.zeros(predictions.shape[:2], bool)
    for i, (image, true) in enumerate(zip(predictions, source.labels[ids], strict=True)):
        truth = boxes_of(true)
        for index in np.unique(image[there[i], CLASS]):
            of_class = there[i] & (image[:, CLASS] == index)
            true_boxes = truth["boxes"][truth["labels"] == index]
            nowhere = np.zeros((1, len(true_boxes)), bool)
            right[i, of_class] = matches(image[of_class, :4], true_boxes, nowhere, nowhere[0]).right[:, 0, IOU_HALF]
    known = np.repeat(task.known(source.labels[ids])[:, None], predictions.shape[1], 1)
    groups = predictions[there][:, CLASS].astype(int), _bin(predictions[there][:, VISIBLE])
    kept = labels[there][:, VISIBLE] > 0
    numbers = _numbers(groups, known[there], right[there], kept, max(len(source.classes), len(BINS)))
    return labels[:, :most], numbers, float(predictions[..., VISIBLE].max(initial=0.0))  # sorted by score


MAKERS: dict[str, tuple[str, Callable[..., tuple[np.ndarray, Numbers, float]]]] = {
    "segmentation": ("pixel", _maps),
    "detection": ("box", _boxes),
}
"""Task -> (what is counted, what makes its labels)."""


def _bin(confidence: Float[np.ndarray, " *n"]) -> Int[np.ndarray, " *n"]:
    return np.asarray(np.digitize(confidence, CONFIDENCES[1:-1]))


def _numbers(
    groups: tuple[np.ndarray, np.ndarray],
    known: Bool[np.ndarray, " *n"],
    right: Bool[np.ndarray, " *n"],
    kept: Bool[np.ndarray, " *n"],
    length: int,
) -> Numbers:
    """Returns `NUMBERS` of parts by their class and by their bin of confidence."""
    right = right & known
    masks = np.ones_like(known), known, right, kept, kept & known, kept & right
    return np.array([[np.bincount(group[mask], minlength=length) for mask in masks] for group in groups])


def _statistics(unit: str, numbers: Numbers, classes: Sequence[str]) -> Json:
    """Returns the statistics that the page shows, with the keys of `audit.audit`."""

    def table(names: Sequence[str], columns: Int[np.ndarray, "6 length"]) -> list[Mapping[str, Any]]:
        rows = [dict(zip(NUMBERS, column, strict=True)) for column in columns.T.tolist()]
        return [
            {"name": name, **row, "wrong": row["kept_known"] - row["right"], "unknown": row["kept"] - row["kept_known"]}
            for name, row in zip(names, rows, strict=False)
        ]

    of_classes, of_bins = table(classes, numbers[0]), table(BINS, numbers[1])
    totals = dict(zip(NUMBERS, numbers[0].sum(1).tolist(), strict=True))
    without = [row["name"] for row in of_classes if not row["kept"]]
    return {
        "unit": unit,
        **totals,
        "known": totals["kept_known"],
        "classes": of_classes,
        "confidence": of_bins,
        "without": without,
        "warnings": [f"classes without pseudo-labels: {few(without, NAMED)}"] if without else [],
    }
