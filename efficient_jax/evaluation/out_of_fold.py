"""Out-of-fold predictions: every labelled image is predicted by the run that was not trained on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax import files
from efficient_jax.errors import UserError
from efficient_jax.inference import predictions
from efficient_jax.tasks import TASKS


class OutOfFold(NamedTuple):
    """Labelled images, each predicted by the run that held it out; in the order of `ids`."""

    classes: tuple[str, ...]
    names: tuple[str, ...]  # files, or "image 7"
    ids: Int[np.ndarray, " n"]  # indices of the images in the source
    probabilities: Float[np.ndarray, "n classes"]
    labels: Int[np.ndarray, "n ..."]
    folds: Int[np.ndarray, " n"]
    task: str = "classification"  # what a label is: a name of `tasks.TASKS`


def gather(stages: Sequence[Path]) -> OutOfFold:
    """Reads the validation predictions of the stages of all folds.

    They are a little better than predictions of new images where a run chose something on its fold: the best
    checkpoint, or the penalty of a linear probe.

    Args:
        stages: folders of finished stages, RUN/STAGE, one of each fold.

    Raises: UserError for a stage without validation predictions, runs on other images, or folds that overlap.
    """
    parts: list[OutOfFold] = []
    before = ""
    for stage in stages:
        if not (stage / predictions.FILES["validation"]).is_file():
            raise UserError(
                f"{str(stage)!r} has no validation.npz: want finished stages of runs with config.data.folds"
            )
        data = files.read_json(stage.parent / "run.json")["data"]
        if before and data["fingerprint"] != before:
            raise UserError(f"{str(stage)!r} saw other images than {str(stages[0])!r}; gather the folds of one source")
        before = data["fingerprint"]
        fold = files.read_json(stage.parent / "config.json")["data"].get("fold", 0)
        part = predictions.read(stage / predictions.FILES["validation"], "out-of-fold predictions")
        folds = np.full(len(part.ids), fold)
        parts.append(OutOfFold(part.classes, part.images, part.ids, part.probabilities, part.labels, folds, part.task))
    if not parts:
        raise UserError("no stages to gather out-of-fold predictions of")
    ids = np.concatenate([part.ids for part in parts])
    names = [name for part in parts for name in part.names]
    order = np.argsort(ids, kind="stable")
    if len(twice := np.flatnonzero(np.diff(ids[order]) == 0)):
        name = names[order[twice[0]]]
        raise UserError(f"{name} was held out by two of the stages; want one stage of each fold and one seed")
    return OutOfFold(
        classes=parts[0].classes,
        names=tuple(names[i] for i in order),
        ids=ids[order],
        probabilities=np.concatenate([part.probabilities for part in parts])[order],
        labels=np.concatenate([part.labels for part in parts])[order],
        folds=np.concatenate([part.folds for part in parts])[order],
        task=parts[0].task,
    )


def write_csv(path: Path, predictions: OutOfFold) -> None:
    """Writes a line for each image: name, fold, label, and the probability of each class.

    Args:
        path: of the file.
        predictions: as from `gather`.
    """
    rows = []
    labels = TASKS[predictions.task].names(predictions.labels, predictions.classes)
    columns = predictions.names, predictions.folds, labels, predictions.probabilities
    for name, fold, label, probabilities in zip(*columns, strict=True):
        rows.append([name, fold, " ".join(label or ()), *(f"{value:.6f}" for value in probabilities)])
    header = ["image", "fold", "label", *(f"p({name})" for name in predictions.classes)]
    files.write_text(path, files.csv_text(header, rows))
