"""predict: predictions of trained members for new images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.data import decode, image_files
from efficient_jax.data.class_names import writable
from efficient_jax.detection.fusion import fusion_of
from efficient_jax.distributed import log
from efficient_jax.errors import UserError, counted
from efficient_jax.evaluation import folder_boxes, folder_images, folder_maps
from efficient_jax.evaluation.folder_images import Seen
from efficient_jax.files import csv_text, write_text
from efficient_jax.inference import prediction_sets, predictions
from efficient_jax.inference.tta import parse_views
from efficient_jax.metrics import conformal
from efficient_jax.tasks import DETECTION, TASKS, Task
from efficient_jax.training.classifier import Network
from efficient_jax.training.trained import Trained

TOP = 3


def predict(
    members: str = "",
    images: str = "",
    out: str = "",
    tta: str = "none",
    top: int = TOP,
    coverage: float = 0.0,
    fuse: str = "",
) -> None:
    """Writes what networks predict for every image below a folder.

    The file has the most probable classes and all probabilities; `evaluate` takes it as a member. Networks of
    segmentation write a folder with a .png for each image: the class of each of its pixels, and classes.txt. Detectors
    write a .json in COCO's format: boxes in pixels of the images, each with a score.

    Args:
        members: RUN or RUN/STAGE, separated by commas; their probabilities are averaged.
        images: folder of images.
        out: the file, .csv or .npz; for maps of pixels a new folder, for boxes a .json. Empty: predictions.csv, the
            folder maps, or boxes.json.
        tta: views of each image over which predictions are averaged: none, flips, d4, shifts, crops, ten_crops or
            scales; for pixels d4:hard counts the predicted classes instead. Boxes of the views are merged, as `fuse`
            says it: flips:wbf (the default), flips:nms, ...
        top: number of classes that are listed for each image, 1 or more.
        coverage: adds a column `set`: classes, with | between them, of which one is true with this probability, such
            as 0.9. It holds for images like the test images, which calibrate it; 0.0: no such column.
        fuse: how boxes of several members are merged, as for `evaluate`: wbf (the default), nms, soft_nms or nmw.

    Raises:
        UserError: a member or the folder does not exist, members do not fit each other, or no image can be read.
    """
    if top < 1:
        raise UserError(f"--top: {top} is too small; want 1 or more")
    if not members:
        raise UserError("predict: --members=RUN[/STAGE],... is missing")
    trained = [Trained.open(name, "--members") for name in members.split(",")]
    views, view_vote = parse_views(tta, "--tta")
    networks = folder_images.networks(trained, views, view_vote)
    task = TASKS[networks[0].spec.task]
    if view_vote == "hard" and task.by_image:
        raise UserError("--tta: shares of a hard vote are no probabilities, which the file has; take soft")
    if fuse and task is not DETECTION:
        raise UserError(f"--fuse: is for boxes; an image has {task.labels}")
    if not task.by_image:
        if coverage or top != TOP:
            raise UserError(f"--coverage and --top are for images of one class; an image has {task.labels}")
        if task is DETECTION:
            _write_boxes(networks, images, out or "boxes.json", fuse)
        else:
            _write_maps(networks, images, out or "maps")
        return
    path = Path(out or "predictions.csv")
    limits = _limits(trained, coverage, tta, path) if coverage else None
    walked = folder_images.walked(images, "predict")
    if path.suffix not in predictions.SUFFIXES:
        raise UserError(f"--out: {str(path)!r} is neither a .csv nor an .npz")
    predicted = folder_images.read(walked.files, networks)
    mean = predicted.probabilities.mean(0)
    classes = networks[0].spec.classes
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, predicted, mean, classes, top, task, limits)
    except OSError as error:
        raise UserError(f"--out: cannot write {str(path)!r}: {error.strerror}") from error
    log(f"{counted(len(predicted.files), 'image')}: {path}")
    _show_left_out(predicted.unreadable, walked.passed_over)


def _write_maps(networks: Sequence[Network], images: str, out: str) -> None:
    walked = folder_images.walked(images, "predict")
    folder = folder_maps.free_folder(out, images)
    try:
        count, unreadable = folder_maps.write(walked.files, Path(images), networks, folder)
    except OSError as error:
        raise UserError(f"--out: cannot write {out!r}: {error.strerror}") from error
    log(f"{counted(count, 'map')}: {folder}")
    _show_left_out(unreadable, walked.passed_over)


def _write_boxes(networks: Sequence[Network], images: str, out: str, fuse: str) -> None:
    path = Path(out)
    if path.suffix != ".json":
        raise UserError(f"--out: {out!r} is no .json, which boxes are written to in COCO's format")
    walked = folder_images.walked(images, "predict")
    how = fusion_of(fuse or "wbf", "", "--fuse")
    try:
        count, unreadable = folder_boxes.write(walked.files, Path(images), networks, how, path)
    except OSError as error:
        raise UserError(f"--out: cannot write {out!r}: {error.strerror}") from error
    log(f"boxes of {counted(count, 'image')}: {path}")
    _show_left_out(unreadable, walked.passed_over)


def _show_left_out(unreadable: dict[str, str], passed_over: Counter[str]) -> None:
    if unreadable:
        log(f"left out {decode.listed(unreadable)}")
    for note in image_files.note(passed_over):
        log(f"note: {note}")


def _limits(trained: Sequence[Trained], coverage: float, tta: str, path: Path) -> conformal.Calibration:
    if tta != "none":
        raise UserError(f"--coverage: test images were predicted without views, which --tta={tta} averages; take none")
    if path.suffix != ".csv":
        raise UserError(f"--coverage: {path.suffix} files have no column `set`; take --out=predictions.csv")
    fitted = prediction_sets.calibrated([one.folder for one in trained], coverage, "threshold", False, "--coverage")
    low, high = conformal.coverage_interval(fitted.images, coverage)
    log(f"sets calibrated with {counted(fitted.images, 'test image')}: {low:.1%} to {high:.1%} contain the true class")
    return fitted


def _write(
    path: Path,
    predicted: Seen,
    mean: np.ndarray,
    classes: tuple[str, ...],
    top: int,
    task: Task,
    limits: conformal.Calibration | None,
) -> None:
    """Writes the columns that `evaluate` reads, in a .csv preceded by the most probable classes."""
    names, ids = tuple(writable(str(file)) for file in predicted.files), np.arange(len(predicted.files))
    contents = predicted.contents
    if path.suffix == ".npz":
        unknown = task.unknown(mean.shape)
        written = predictions.Predictions(ids, mean, unknown, classes, names, contents, task=task.name)
        return predictions.write(path, written)
    order = np.argsort(-mean, axis=1, kind="stable")[:, :top]
    ranks = range(1, order.shape[1] + 1)
    columns: list[Any] = [ids, names, contents]
    for k in order.T:
        columns += [[classes[label] for label in k], mean[ids, k]]
    head = [f"{what}{'' if r == 1 else r}" for r in ranks for what in ("class", "confidence")]
    if limits:
        head.append("set")
        columns.append(["|".join(names) for names in prediction_sets.names_of(conformal.sets(mean, limits), classes)])
    unlabelled = task.label_columns(classes)
    columns += [[""] * len(ids)] * len(unlabelled)
    header = ["id", "image", "content", *head, *unlabelled, *(f"p({name})" for name in classes)]
    return write_text(path, csv_text(header, zip(*columns, *mean.T, strict=True)))
