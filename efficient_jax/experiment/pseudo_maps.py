"""Pseudo-labels of pixels: the classes of which a teacher is sure, in `pseudo_labels.npz`, with their statistics."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from efficient_jax import files
from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError, few
from efficient_jax.experiment.pseudo_label_store import ABOUT, CONFIDENCES, NAMED
from efficient_jax.metrics.classification import NOT_COUNTED
from efficient_jax.tasks import TASKS

ARRAYS = "pseudo_labels.npz"
CHUNK = 256  # images that are predicted together: probabilities of all pixels are many


def pseudo_maps(
    folder: Path,
    source: Source,
    ids: Int[np.ndarray, " n"],
    predict: Callable[[np.ndarray], Float[np.ndarray, "m h w k"]],
    settings: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> tuple[UInt8[np.ndarray, "n h w"], dict[str, Any]]:
    """Returns the pseudo-labels of unlabelled images and writes them; those of a stage that was interrupted are read.

    Args:
        folder: folder of the stage.
        source: the dataset; the true classes that it knows are counted, and not learned.
        ids: indices of the images.
        predict: indices of m images -> their probabilities; of the size of the teacher's images.
        settings: keyword arguments of the task's `pseudo_labels`.
        origin: what the labels follow from, such as the teacher and the settings.

    Returns: (class index of each pixel, 255 where the teacher is not sure; statistics in pixels, as in
        `pseudo_labels.json`).

    Raises: UserError where no pixel reaches the threshold.
    """
    if (folder / ABOUT).is_file() and (folder / ARRAYS).is_file():
        about = files.read_json(folder / ABOUT)
        with np.load(folder / ARRAYS) as arrays:
            if {name: about.get(name) for name in origin} == origin and np.array_equal(arrays["id"], ids):
                return arrays["label"], about
    task, size = TASKS[source.task], source.labels.shape[1]
    assert task.pseudo_labels
    maps, tally, highest = [], np.zeros((2, 6, max(len(source.classes), len(CONFIDENCES))), np.int64), 0.0
    for start in range(0, len(ids), CHUNK):
        rows = ids[start : start + CHUNK]
        probabilities = predict(rows)
        labels, _ = task.pseudo_labels(probabilities, 0, **settings)
        level = np.digitize(probabilities.max(-1), CONFIDENCES[1:-1])
        predicted = labels, task.answers(probabilities, ()), level
        kept, answer, level = (task.resized(x.astype(np.uint8), x.shape[1:3], size) for x in predicted)
        tally += _tally(answer, level, kept, source.labels[rows], tally.shape[2])
        highest = max(highest, float(probabilities.max()))
        maps.append(kept)
    if not tally[0, 3].any():
        threshold = settings["threshold"]
        raise UserError(
            f"pseudo_labels.threshold: no pixel reaches {threshold}; the highest confidence is {highest:.3f}"
        )
    joined = np.concatenate(maps)
    about = dict(origin) | _statistics(tally, source.classes)
    files.write_npz(folder / ARRAYS, {"id": ids, "label": joined})
    files.write_json(folder / ABOUT, about)  # last: where it exists, the labels are complete
    return joined, about


def _tally(
    answers: UInt8[np.ndarray, "m h w"],
    levels: UInt8[np.ndarray, "m h w"],
    kept: UInt8[np.ndarray, "m h w"],
    truth: np.ndarray,
    length: int,
) -> Int[np.ndarray, "2 6 length"]:
    """Returns numbers of pixels by predicted class and by bin of confidence: all, known, right; then of those kept."""
    known, used = truth != NOT_COUNTED, kept != NOT_COUNTED
    right = known & (answers == truth)
    masks = [np.ones_like(known), known, right, used, used & known, used & right]
    return np.array([[np.bincount(group[mask], minlength=length) for mask in masks] for group in (answers, levels)])


def _statistics(tally: Int[np.ndarray, "2 6 length"], classes: tuple[str, ...]) -> dict[str, Any]:
    """Returns the statistics that the page shows, with the keys of `pseudo_label_store.audit`, in pixels."""
    bins = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(CONFIDENCES)]
    of_classes, of_levels = (
        [
            {"name": name, "pool": pool, "pool_known": known, "pool_right": right, "kept": kept}
            | {"right": kept_right, "wrong": kept_known - kept_right, "unknown": kept - kept_known}
            for name, (pool, known, right, kept, kept_known, kept_right) in zip(names, counts.T.tolist(), strict=False)
        ]
        for names, counts in zip((classes, bins), tally, strict=True)
    )
    without = [row["name"] for row in of_classes if not row["kept"]]
    pool, known, right, kept, kept_known, kept_right = tally[0].sum(1).tolist()
    return {
        "unit": "pixel",
        "pool": pool,
        "kept": kept,
        "known": kept_known,
        "right": kept_right,
        "pool_known": known,
        "pool_right": right,
        "classes": of_classes,
        "confidence": of_levels,
        "without": without,
        "warnings": [f"classes without pseudo-labels: {few(without, NAMED)}"] if without else [],
    }
