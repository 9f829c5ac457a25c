"""What a trained stage leaves for the report: predictions, mistakes, and what its images looked like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from efficient_jax import files, keys
from efficient_jax.data.dataset import Source
from efficient_jax.inference import predictions
from efficient_jax.metrics import accuracy, calibration
from efficient_jax.types import Augment

SAMPLES, VERSIONS = 8, 4
MISTAKES = 32
PAIRS = 12


def judge(
    folder: Path, source: Source, ids: np.ndarray, probabilities: np.ndarray, thresholds: Sequence[float] = ()
) -> dict[str, Any]:
    """Writes the test predictions and the worst mistakes, the most confident ones; returns the figures of the result.

    Where an image can have several labels, from `thresholds` [classes] on, the worst are those of the largest loss.
    """
    labels = source.labels[ids]
    predictions.write(folder / predictions.FILES["test"], predictions.of(source, ids, probabilities))
    figures: dict[str, Any]
    if source.multi_label:
        predicted, how, badness = probabilities >= thresholds, "loss", accuracy.label_losses(probabilities, labels)
        wrong = np.flatnonzero((predicted != labels).any(1))
        figures = {
            "test": accuracy.several_labels(probabilities, labels, np.asarray(thresholds)),
            "thresholds": list(thresholds),
            "negative_log_likelihood": float(badness.mean()),
        }
    else:
        predicted, how, badness = probabilities.argmax(1), "confidence", probabilities.max(1)
        wrong = np.flatnonzero(predicted != labels)
        figures = {
            "test": {"correct": len(ids) - len(wrong), "n": len(ids)},
            "negative_log_likelihood": accuracy.negative_log_likelihood(probabilities, labels),
            "calibration_error": calibration.expected_calibration_error(probabilities, labels),
        }
    worst = wrong[np.argsort(-badness[wrong], kind="stable")][:MISTAKES]
    files.write_npz(
        folder / "mistakes.npz",
        {
            "images": source.images[ids[worst]],
            "id": ids[worst],
            "label": labels[worst],
            "predicted": predicted[worst].astype(np.int32),
            how: badness[worst],
        },
    )
    return figures


def keep_leaks(folder: Path, source: Source, found: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Writes pictures of the nearest pairs across parts; `found` as from `leaks.leaks`."""
    if found:
        ids = np.concatenate([pairs[:PAIRS] for _, pairs, _ in found])
        files.write_npz(folder / "leaks.npz", {"images": source.images[ids], "id": ids})


def samples(
    folder: Path,
    augment: Mapping[str, Augment],
    data: Mapping[str, Any],
    rows: Mapping[str, np.ndarray],
    key: jax.Array,
) -> None:
    """Writes some images of each stream of `data`, a batch, and versions of them, augmented as in the step."""
    arrays = {}
    for stream, ids in rows.items():
        chosen = ids[np.linspace(0, len(ids) - 1, SAMPLES).astype(int)]
        repeated = np.tile(chosen, VERSIONS)  # another image beside each, because mixing pairs neighbours
        each = keys.by_position(keys.named(key, stream), 0, len(repeated))
        seen = jax.jit(augment[stream])(each, {name: x[repeated] for name, x in data.items()})["image"]
        seen = np.asarray(seen)
        seen = seen if seen.dtype == np.uint8 else np.round(seen * 255).astype(np.uint8)
        prefix = "" if stream == "labelled" else f"{stream}_"
        arrays[f"{prefix}raw"] = data["image"][chosen]
        arrays[f"{prefix}augmented"] = seen.reshape(VERSIONS, SAMPLES, *seen.shape[1:]).swapaxes(0, 1)
    files.write_npz(folder / "samples.npz", arrays)
