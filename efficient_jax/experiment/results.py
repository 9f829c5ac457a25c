"""Writes what the report shows of a trained stage: predictions, mistakes, and samples of its images."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from efficient_jax import files, keys
from efficient_jax.augment import once
from efficient_jax.data.dataset import Source
from efficient_jax.inference import predictions
from efficient_jax.tasks import TASKS, Task
from efficient_jax.training.labels import Labels, on_host, take
from efficient_jax.types import Augment

SAMPLES, VERSIONS = 8, 4
MISTAKES = 32
PAIRS = 12


def evaluate_stage(
    folder: Path,
    source: Source,
    ids: np.ndarray,
    probabilities: np.ndarray,
    thresholds: Sequence[float] = (),
    pixel_areas: np.ndarray | None = None,
) -> dict[str, Any]:
    """Writes the test predictions and the worst mistakes.

    Args:
        folder: folder of the stage.
        source: the dataset.
        ids: indices of the test images.
        probabilities: predictions for them, float32 [n ... classes].
        thresholds: probability of each class from which on it is predicted, for tasks that have thresholds.
        pixel_areas: area of a pixel of each image in pixels of the original, float [n]; None: not known.

    Returns: "test", the counts of the task, "thresholds" where there are any, and the likelihood.
    """
    task, labels = TASKS[source.task], source.labels[ids]
    predictions.write(folder / predictions.FILES["test"], predictions.gather(source, ids, probabilities, pixel_areas))
    answers, severity = task.answers(probabilities, thresholds), task.severity(probabilities, labels)
    wrong = np.flatnonzero(~task.correct(answers, labels) if task.by_image else severity > 0.0)
    worst = wrong[np.argsort(-severity[wrong], kind="stable")][:MISTAKES]
    files.write_npz(
        folder / "mistakes.npz",
        {
            "task": np.array(source.task),
            "images": source.images[ids[worst]],
            "id": ids[worst],
            "label": labels[worst],
            "predicted": answers[worst],
            "true_names": _shown(task, labels[worst], source.classes),
            "predicted_names": _shown(task, answers[worst], source.classes),
            "file_names": np.array([file_name(source, i) for i in ids[worst]], str),
            task.severity_name: severity[worst],
        },
    )
    counts = task.counts(probabilities, labels, answers)
    if task.test_figures and len(ids):
        names = tuple(map(str, range(len(source.classes))))  # as in `counts`
        counts |= task.test_figures(probabilities, labels, answers, names, pixel_areas)
    return {
        "test": counts,
        **({"thresholds": list(thresholds)} if task.thresholds else {}),
        **(task.likelihood(probabilities, labels) if len(ids) else {"negative_log_likelihood": math.nan}),
    }


def _shown(task: Task, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Returns the classes of each image as text."""
    return np.array([", ".join(names or ()) or "nothing" for names in task.names(labels, classes)], str)


def file_name(source: Source, index: int) -> str:
    """Returns the name of an image as captions show it: of a file without its folders.

    Args:
        source: the dataset.
        index: of the image.
    """
    return Path(source.name(index)).name


def captions(source: Source, split: Mapping[str, np.ndarray]) -> Callable[[int], str]:
    """Returns a function that describes the image of an index: its classes, its part and its name.

    Args:
        source: the dataset.
        split: part -> indices of its images.
    """
    part = {index: name for name, ids in split.items() for index in ids.tolist()}

    def caption(index: int) -> str:
        (names,) = TASKS[source.task].names(source.labels[[index]], source.classes)
        known = [] if names is None else [", ".join(names) or "nothing"]
        return " · ".join([*known, part[index], file_name(source, index)])

    return caption


def keep_leaks(
    folder: Path,
    source: Source,
    split: Mapping[str, np.ndarray],
    leaks: Sequence[tuple[str, np.ndarray, np.ndarray]],
) -> None:
    """Writes the images of near duplicates in different parts with their captions, of the first few pairs.

    Args:
        folder: folder of the run.
        source: the dataset.
        split: part -> indices of its images.
        leaks: as from `leaks.leaks`; for none nothing is written.
    """
    if not leaks:
        return
    ids = np.concatenate([pairs[:PAIRS] for _, pairs, _ in leaks])
    distances = np.concatenate([of_pairs[:PAIRS] for _, _, of_pairs in leaks])
    caption = captions(source, split)
    lines = [
        [*map(caption, pair), f"distance {distance:.3f}"]
        for pair, distance in zip(ids.tolist(), distances, strict=True)
    ]
    files.write_npz(folder / "leaks.npz", {"images": source.images[ids], "id": ids, "lines": np.array(lines, str)})


def samples(
    folder: Path,
    augment: Mapping[str, Augment],
    data: Mapping[str, Any],
    labels: Labels,
    classes: int,
    rows: Mapping[str, np.ndarray],
    key: jax.Array,
    name: Callable[[int], str],
    maps: bool = False,
) -> None:
    """Writes some images of each stream with their targets and names, and several augmented versions of each.

    Args:
        folder: folder of the stage.
        augment: stream -> its augmentation.
        data: "image" and what else examples have, of all images.
        labels: of all images.
        classes: number of classes.
        rows: stream -> indices of its images.
        key: random key of the augmentation.
        name: index of an image -> its name.
        maps: whether masks are the classes of pixels plus one; these are then written too, 255 for no class.
    """
    arrays = {}
    for stream, ids in rows.items():
        chosen = ids[np.linspace(0, len(ids) - 1, SAMPLES).astype(int)]
        repeated = np.tile(chosen, VERSIONS)  # another image beside each, because mixing pairs neighbours
        image_keys = keys.by_position(keys.named(key, stream), 0, len(repeated))
        batch = {name: x[repeated] for name, x in data.items()}
        batch["label"] = on_host(take(labels, repeated), classes)
        views = once.run_once(augment[stream], image_keys, batch)
        augmented = views["image"]
        augmented = augmented if augmented.dtype == np.uint8 else np.round(augmented * 255).astype(np.uint8)
        prefix = "" if stream == "labelled" else f"{stream}_"
        arrays[f"{prefix}raw"] = data["image"][chosen]
        arrays[f"{prefix}names"] = np.array([*map(name, chosen)], str)
        arrays[f"{prefix}targets"] = on_host(take(labels, chosen), classes)
        arrays[f"{prefix}augmented"] = _by_image(augmented)
        if maps:
            arrays[f"{prefix}raw_map"] = data["mask"][chosen] - np.uint8(1)  # 0, without a class, becomes 255
            arrays[f"{prefix}augmented_map"] = _by_image(views["mask"] - np.uint8(1))
        if "boxes" in data:
            arrays[f"{prefix}raw_boxes"] = _boxes({name: x[chosen] for name, x in data.items()})
            arrays[f"{prefix}augmented_boxes"] = _by_image(_boxes(views))
    files.write_npz(folder / "samples.npz", arrays)


def _boxes(examples: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns boxes [b n 6]: edges, class (0 where objects have none), and the visible share."""
    visible = np.asarray(examples["box_visible"], np.float32)[..., None]
    labels = np.asarray(examples["box_label"], np.float32)[..., None] if "box_label" in examples else 0 * visible
    return np.concatenate([examples["boxes"], labels, visible], -1)


def _by_image(views: np.ndarray) -> np.ndarray:
    """Returns [images versions ...] of the versions of all images, one version after the other."""
    return views.reshape(VERSIONS, SAMPLES, *views.shape[1:]).swapaxes(0, 1)
