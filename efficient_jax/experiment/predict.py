"""Predicts images of a run with the variables of a stage, and evaluates them on its validation images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.experiment.run import Run
from efficient_jax.inference import predictions
from efficient_jax.tasks import TASKS, Task
from efficient_jax.training.predict import Predict, collect_predictions
from efficient_jax.types import Tree

PREDICT_BATCH = 512
PREDICT_PIXELS = 2**19  # of a batch on CPU: larger ones are no faster and do not fit into its caches


def predict_rows(predict: Predict, variables: Tree, ids: np.ndarray, run: Run) -> np.ndarray:
    """Predicts images of a run.

    Args:
        predict: as from `training.predict.make_predict`.
        variables: replicated on the devices.
        ids: indices of the images.
        run: what all stages share.

    Returns: probabilities, float32 [n ... classes].
    """
    return collect_predictions(predict, variables, run.images, ids, batch=predict_batch(run, ids), devices=run.devices)


def predict_batch(run: Run, ids: np.ndarray) -> int:
    """Returns how many images a batch of predictions has: a multiple of the number of devices.

    Args:
        run: what all stages share.
        ids: indices of the images to predict.
    """
    h, w = run.source.images.shape[1:3]
    most = PREDICT_PIXELS // (h * w) if run.devices[0].platform == "cpu" else PREDICT_BATCH
    count = len(run.devices)
    return min(max(min(most, PREDICT_BATCH) // count, 1), -(-len(ids) // count)) * count


def validate(
    predict: Predict, variables: Tree, run: Run, file: Path | None = None
) -> tuple[dict[str, Any] | None, tuple[float, ...]]:
    """Evaluates variables on the validation images.

    Args:
        predict: as from `training.predict.make_predict`.
        variables: replicated on the devices.
        run: what all stages share.
        file: file to which the predictions are written; None: none.

    Returns: (the counts of the task, None where there are no validation images; the thresholds that are best on these
        images, so that F1 is a little optimistic, () where the task has none).
    """
    task, ids = TASKS[run.source.task], run.split["validation"]
    labels = run.source.labels[ids]
    if len(ids):
        probabilities = predict_rows(predict, variables, ids, run)
        if file:
            predictions.write(file, predictions.gather(run.source, ids, probabilities))
    else:
        probabilities = np.zeros((0, len(run.source.classes)), np.float32)
    thresholds = tuple(task.thresholds(probabilities, labels).tolist()) if task.thresholds else ()
    counts = task.counts(probabilities, labels, task.answers(probabilities, thresholds)) if len(ids) else None
    return counts, thresholds


def scores(task: Task, counts: Mapping[str, Any]) -> dict[str, float]:
    """Returns the validation metrics that are logged. The best checkpoint is that with the highest first one.

    Args:
        task: what the labels are.
        counts: as from `validate`.
    """
    return {f"validation_{name}": value for name, value in task.scores(counts).items()}
