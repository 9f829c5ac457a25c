"""Predicts images with the variables of a network, and evaluates it on validation images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from efficient_jax import files
from efficient_jax.experiment.dataset import Data
from efficient_jax.inference import predictions
from efficient_jax.inference.predictions import PIXEL_DTYPE
from efficient_jax.tasks import Task
from efficient_jax.training import batches
from efficient_jax.training.predict import Predict, predicted_batches
from efficient_jax.types import Tree

PREDICT_BATCH = 512
PREDICT_PIXELS = 2**19  # of a batch on CPU: larger ones are no faster and do not fit into its caches


def predict_rows(
    predict: Predict, variables: Tree, images: batches.Images, ids: np.ndarray, devices: Sequence[jax.Device]
) -> np.ndarray:
    """Predicts images.

    Args:
        predict: as from `training.predict.make_predict`.
        variables: replicated on the devices.
        images: as from `batches.place`.
        ids: int [n], indices of the images to predict.
        devices: those of `predict`.

    Returns: probabilities, float32 [n ... classes].
    """
    size = predict_batch(images.shape, len(ids), devices)
    return np.concatenate([*predicted_batches(predict, variables, images, ids, batch=size, devices=devices)])


def predict_to_judge(
    task: Task,
    predict: Predict,
    variables: Tree,
    images: batches.Images,
    ids: np.ndarray,
    devices: Sequence[jax.Device],
) -> np.ndarray:
    """Predicts images as `predict_rows`; of pixels float16 in a temporary file, of which a batch is in memory.

    Args:
        task: of the network.
        predict: as for `predict_rows`.
        variables: as for `predict_rows`.
        images: as for `predict_rows`.
        ids: as for `predict_rows`.
        devices: as for `predict_rows`.

    Returns: probabilities [n ... classes], see `files.scratch`.
    """
    if not task.by_pixel:
        return predict_rows(predict, variables, images, ids, devices)
    size, row = predict_batch(images.shape, len(ids), devices), 0
    maps = np.zeros(0)
    for part in predicted_batches(predict, variables, images, ids, batch=size, devices=devices):
        maps = maps if row else files.scratch((len(ids), *part.shape[1:]), PIXEL_DTYPE)
        maps[row : row + len(part)] = part
        row += len(part)
        files.release(maps)
    return maps


def predict_batch(shape: tuple[int, ...], count: int, devices: Sequence[jax.Device]) -> int:
    """Returns how many images a batch of predictions has: a multiple of the number of devices.

    Args:
        shape: of the images, (n, height, width, channels).
        count: number of images to predict.
        devices: each batch is split over these.
    """
    most = PREDICT_PIXELS // (shape[1] * shape[2]) if devices[0].platform == "cpu" else PREDICT_BATCH
    return min(max(min(most, PREDICT_BATCH) // len(devices), 1), -(-count // len(devices))) * len(devices)


def validate(
    predict: Predict, variables: Tree, data: Data, file: Path | None = None
) -> tuple[dict[str, Any] | None, tuple[float, ...]]:
    """Evaluates variables on the validation images.

    Args:
        predict: as from `training.predict.make_predict`.
        variables: replicated on the devices.
        data: images and split.
        file: file to which the predictions are written; None: none.

    Returns: (the counts and the likelihood of the task, None without validation images; the thresholds that are best
        on these images, so that F1 is a little optimistic, () where the task has none).
    """
    task, source, ids = data.task, data.source, data.split["validation"]
    labels = source.labels[ids]
    if len(ids):
        probabilities = predict_to_judge(task, predict, variables, data.images, ids, data.devices)
        if file:
            predictions.write(file, predictions.gather(source, ids, probabilities))
    else:
        probabilities = np.zeros((0, len(source.classes)), np.float32)
    thresholds = tuple(task.thresholds(probabilities, labels).tolist()) if task.thresholds else ()
    if not len(ids):
        return None, thresholds
    counts = task.counts(probabilities, labels, task.answers(probabilities, thresholds))
    return counts | task.likelihood(probabilities, labels), thresholds


def scores(task: Task, counts: Mapping[str, Any]) -> dict[str, float]:
    """Returns the validation metrics that are logged. The best checkpoint is that with the highest first one.

    The loss is the negative log-likelihood, whatever the method minimizes; predicted boxes have none.

    Args:
        task: what the labels are.
        counts: as from `validate`.
    """
    loss = {"loss": counts["negative_log_likelihood"]} if "negative_log_likelihood" in counts else {}
    logged = task.scores(counts) | loss
    return {f"validation_{name}": value for name, value in logged.items()}
