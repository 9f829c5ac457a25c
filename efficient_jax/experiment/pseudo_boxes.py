"""Pseudo-labels of objects: the boxes of which a teacher is sure, in `pseudo_labels.npz`, with their statistics."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from efficient_jax import files
from efficient_jax.data.dataset import Source
from efficient_jax.detection.mean_average_precision import matched
from efficient_jax.errors import UserError, few
from efficient_jax.experiment.pseudo_label_store import ABOUT, CONFIDENCES, NAMED
from efficient_jax.experiment.pseudo_maps import ARRAYS
from efficient_jax.tasks import DETECTION, detection

HALF = 0  # index of an IoU of 0.5 among the thresholds of average precision


def pseudo_boxes(
    folder: Path,
    source: Source,
    ids: Int[np.ndarray, " n"],
    predict: Callable[[np.ndarray], Float[np.ndarray, "m _most 6"]],
    settings: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> tuple[Float[np.ndarray, "n _most 6"], dict[str, Any]]:
    """Returns the pseudo-labels of unlabelled images and writes them; those of a stage that was interrupted are read.

    Args:
        folder: folder of the stage.
        source: the dataset; the true objects that it knows are counted, and not learned.
        ids: indices of the images.
        predict: indices of m images -> their predictions.
        settings: keyword arguments of the task's `pseudo_labels`.
        origin: what the labels follow from, such as the teacher and the settings.

    Returns: (labels as `tasks.detection` has them; statistics in boxes, as in `pseudo_labels.json`).

    Raises: UserError where no box reaches the threshold.
    """
    if (folder / ABOUT).is_file() and (folder / ARRAYS).is_file():
        about = files.read_json(folder / ABOUT)
        with np.load(folder / ARRAYS) as arrays:
            if {name: about.get(name) for name in origin} == origin and np.array_equal(arrays["id"], ids):
                return arrays["label"], about
    predictions = predict(ids)
    labels, kept = detection.pseudo_labels(predictions, 0, **settings)
    if not kept.any():
        highest = predictions[..., detection.VISIBLE].max(initial=0.0)
        raise UserError(
            f"pseudo_labels.threshold: no box reaches {settings['threshold']}; the highest score is {highest:.3f}"
        )
    most = max(1, int((labels[..., detection.VISIBLE] > 0).sum(1).max()))
    labels = labels[:, :most]  # sorted by score
    about = dict(origin) | statistics(predictions, source.labels[ids], settings["threshold"], source.classes)
    files.write_npz(folder / ARRAYS, {"id": ids, "label": labels})
    files.write_json(folder / ABOUT, about)  # last: where it exists, the labels are complete
    return labels, about


def statistics(
    predictions: Float[np.ndarray, "n _most 6"],
    truth: Float[np.ndarray, "n _true 6"],
    threshold: float,
    classes: tuple[str, ...],
) -> dict[str, Any]:
    """Returns the statistics that the page shows, with the keys of `pseudo_label_store.audit`, in boxes.

    A box is right if it is matched to a true one of its class at an IoU of 0.5.

    Args:
        predictions: of a teacher.
        truth: labels of the same images, as far as they are known.
        threshold: score from which on a box is kept.
        classes: name of each class.
    """
    known_images = DETECTION.known(truth)
    rows = []  # class, score, whether its truth is known, whether it is right
    for of_image, true, known in zip(predictions, truth, known_images, strict=True):
        boxes, objects = detection.found(of_image), detection.found(true)
        for index in np.unique(boxes["labels"]):
            of_class = boxes["labels"] == index
            right = matched(boxes["boxes"][of_class], objects["boxes"][objects["labels"] == index])[:, HALF]
            rows += [(index, score, known, hit) for score, hit in zip(boxes["scores"][of_class], right, strict=True)]
    class_of, score, known, right = np.array(rows, float).reshape(-1, 4).T
    known, kept = known.astype(bool), score >= np.float32(threshold)
    right = known & right.astype(bool)
    bins = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(CONFIDENCES)]
    level = np.digitize(score, CONFIDENCES[1:-1])

    def table(names: tuple[str, ...] | list[str], group: np.ndarray) -> list[dict[str, Any]]:
        masks = {"pool": known | ~known, "pool_known": known, "pool_right": right, "kept": kept}
        masks |= {"right": kept & right, "wrong": kept & known & ~right, "unknown": kept & ~known}
        numbers = {name: np.bincount(group[mask].astype(int), minlength=len(names)) for name, mask in masks.items()}
        return [{"name": name, **{key: int(n[i]) for key, n in numbers.items()}} for i, name in enumerate(names)]

    of_classes = table(classes, class_of)
    without = [row["name"] for row in of_classes if not row["kept"]]
    return {
        "unit": "box",
        "pool": len(score),
        "kept": int(kept.sum()),
        "known": int((kept & known).sum()),
        "right": int((kept & right).sum()),
        "pool_known": int(known.sum()),
        "pool_right": int(right.sum()),
        "classes": of_classes,
        "confidence": table(bins, level),
        "without": without,
        "warnings": [f"classes without pseudo-labels: {few(without, NAMED)}"] if without else [],
    }
