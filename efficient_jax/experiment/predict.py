"""What the variables of a stage predict for images of its run, and what that says of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.experiment.run import Run
from efficient_jax.inference import predictions
from efficient_jax.metrics import accuracy
from efficient_jax.training.predict import collect_predictions
from efficient_jax.types import Tree

PREDICT_BATCH = 512
PREDICT_PIXELS = 2**19  # in a batch on CPU: larger ones gain nothing and leave its caches


def predict_rows(predict: Any, variables: Tree, ids: np.ndarray, run: Run) -> np.ndarray:
    return collect_predictions(predict, variables, run.images, ids, batch=predict_batch(run, ids), devices=run.devices)


def predict_batch(run: Run, ids: np.ndarray) -> int:
    """A multiple of the number of devices."""
    h, w = run.source.images.shape[1:3]
    most = PREDICT_PIXELS // (h * w) if run.devices[0].platform == "cpu" else PREDICT_BATCH
    count = len(run.devices)
    return min(max(min(most, PREDICT_BATCH) // count, 1), -(-len(ids) // count)) * count


def validate(
    predict: Any, variables: Tree, run: Run, file: Path | None = None
) -> tuple[dict[str, Any] | None, tuple[float, ...]]:
    """(figures of the validation images, None where there are none; where an image can have several labels, their
    thresholds, the best on these images, so that F1 is a little optimistic). Writes the predictions to `file`."""
    ids, labels = run.split["validation"], run.source.labels[run.split["validation"]]
    if not len(ids):
        return None, (0.5,) * len(run.source.classes) if run.source.multi_label else ()
    probabilities = predict_rows(predict, variables, ids, run)
    if file:
        predictions.write(file, predictions.of(run.source, ids, probabilities))
    if not run.source.multi_label:
        return {"correct": int((probabilities.argmax(1) == labels).sum()), "n": len(ids)}, ()
    thresholds = accuracy.thresholds(probabilities, labels)
    return accuracy.several_labels(probabilities, labels, thresholds), tuple(thresholds.tolist())


def scores(figures: Mapping[str, Any]) -> dict[str, float]:
    """What to log of validation; the first is what the best checkpoint has most of."""
    if "mean_average_precision" not in figures:
        return {"validation_accuracy": figures["correct"] / figures["n"]}
    return {f"validation_{name}": figures[name] for name in ("mean_average_precision", "micro_f1", "macro_f1")}
