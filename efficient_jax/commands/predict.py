"""predict: predictions of trained members for new images, and which of these to label next."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import track

from efficient_jax import settings
from efficient_jax.data import dataset, decode, image_files
from efficient_jax.data.class_names import writable
from efficient_jax.data.framing import Framing
from efficient_jax.distributed import console, log
from efficient_jax.errors import UserError, counted
from efficient_jax.files import csv_text, write_text
from efficient_jax.inference import predictions
from efficient_jax.inference.tta import VIEWS, View
from efficient_jax.report import labelling
from efficient_jax.selection import uncertainty
from efficient_jax.tasks import TASKS, Task
from efficient_jax.training.classifier import Network, network
from efficient_jax.training.trained import Trained

CHUNK = 256  # images that are decoded and predicted together
SHOWN_SIZE = 128  # pixels of an image on the page
SHOWN_CLASSES = 3  # of an image on the page


class Predicted(NamedTuple):
    """Predictions for the images that could be read."""

    files: list[Path]  # of these images
    probabilities: np.ndarray  # float32 [members n classes]
    features: np.ndarray  # float32 [n d], from the first member
    unreadable: dict[str, str]  # file -> reason
    contents: tuple[str, ...]  # hashes of the files, by which `evaluate` finds them again


def predict(
    members: str = "",
    images: str = "",
    out: str = "predictions.csv",
    tta: str = "none",
    top: int = 3,
    rank: str = "",
    count: int = 50,
) -> None:
    """Writes what networks predict for every image below a folder, and which images are most worth labelling.

    The file has the most probable classes and all probabilities; `evaluate` takes it as a member.

    Args:
        members: RUN or RUN/STAGE, separated by commas; their probabilities are averaged.
        images: folder of images.
        out: the file, .csv or .npz.
        tta: views of each image over which predictions are averaged: none, flips, d4, shifts, crops, ten_crops or
            scales.
        top: number of classes that are listed for each image, 1 or more.
        rank: entropy, margin or disagreement (of several members): also writes OUT_to_label.csv and .html, the images
            that are most worth labelling, unlike each other; empty: does not.
        count: number of these images, 1 or more.

    Raises:
        UserError: a member or the folder does not exist, members do not fit each other, or no image can be read.
    """
    path = Path(out)
    for flag, number in (("--top", top), ("--count", count)):
        if number < 1:
            raise UserError(f"{flag}: {number} is too small; want 1 or more")
    networks = _networks(members, settings.choose(tta, VIEWS, "--tta"))
    files, passed_over = _files(images)
    task = TASKS[networks[0].spec.task]
    if path.suffix not in predictions.SUFFIXES:
        raise UserError(f"--out: {out!r} is neither a .csv nor an .npz")
    if rank:
        settings.choose(rank, uncertainty.RANKINGS, "--rank")
        if rank == "disagreement" and len(networks) < 2:
            raise UserError("--rank: disagreement needs several members; give two or more, or rank by entropy")
        if not task.one_class:
            raise UserError(f"--rank: members predict {task.labels} for each image; the rankings are of one class")
    predicted = _predict(networks, files)
    mean = predicted.probabilities.mean(0)
    classes = networks[0].spec.classes
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, predicted, mean, classes, top, task)
    except OSError as error:
        raise UserError(f"--out: cannot write {out!r}: {error.strerror}") from error
    log(f"{counted(len(predicted.files), 'image')}: {path}")
    if predicted.unreadable:
        log(f"left out {decode.listed(predicted.unreadable)}")
    for note in image_files.note(passed_over):
        log(f"note: {note}")
    if rank:
        scores = uncertainty.RANKINGS[rank](predicted.probabilities)
        chosen = uncertainty.diverse(predicted.features, scores, count)
        page = _write_ranking(path, predicted, mean, classes, chosen, scores, rank)
        log(f"to label next: {page.with_suffix('.csv')}, {page}")


def _networks(names: str, views: Sequence[View]) -> list[Network]:
    if not names:
        raise UserError("predict: --members=RUN[/STAGE],... is missing")
    members = [Trained.open(name, "--members") for name in names.split(",")]
    first = members[0].spec
    for member in members:
        if member.spec.task != first.task:
            raise UserError(
                f"--members: the task of {member.name!r} is {member.spec.task}, that of the first member {first.task}"
            )
        if member.spec.classes != first.classes:
            raise UserError(
                f"--members: the classes of {member.name!r} are {list(member.spec.classes)}, those of the first member "
                f"{list(first.classes)}"
            )
    return [network(member, CHUNK, views) for member in members]


def _files(images: str) -> image_files.Walked:
    if not images:
        raise UserError("predict: --images=FOLDER is missing")
    if not Path(images).is_dir():
        raise UserError(f"--images: {images!r} is {'a file' if Path(images).exists() else 'not there'}; want a folder")
    walked = image_files.pictures(Path(images), "--images")
    if not walked.files:
        raise UserError(f"--images: no images in {images!r} or the folders below it")
    return walked


def _predict(networks: Sequence[Network], files: list[Path]) -> Predicted:
    read: list[Path] = []
    parts, features, contents = [], [], []
    unreadable: dict[str, str] = {}
    framings = [member.spec.image_framing() for member in networks]
    for chunk in track(_chunks(files), "predicting", -(-len(files) // CHUNK), console=console(), transient=True):
        decoded = {  # once for all members with the same framing
            framing: decode.decode_all(chunk.__getitem__, len(chunk), framing) for framing in set(framings)
        }
        for of_framing in decoded.values():
            unreadable |= {writable(str(chunk[row])): why for row, why in of_framing.unreadable.items()}
        first = next(iter(decoded.values()))
        read += [chunk[row] for row in first.rows]
        contents += dataset.shown(first.contents)
        predicted = [
            member.predict(decoded[framing].images) for member, framing in zip(networks, framings, strict=True)
        ]
        parts.append(np.stack([probabilities for probabilities, _ in predicted]))
        features.append(predicted[0][1])
    if not read:
        raise UserError(f"--images: none of its images can be read: {decode.listed(unreadable)}")
    return Predicted(read, np.concatenate(parts, 1), np.concatenate(features), unreadable, tuple(contents))


def _chunks(files: list[Path]) -> Iterator[list[Path]]:
    return (files[i : i + CHUNK] for i in range(0, len(files), CHUNK))


def _write(path: Path, predicted: Predicted, mean: np.ndarray, classes: tuple[str, ...], top: int, task: Task) -> None:
    """Writes the columns that `evaluate` reads, in a .csv preceded by the most probable classes."""
    names, ids = tuple(writable(str(file)) for file in predicted.files), np.arange(len(predicted.files))
    contents = predicted.contents
    if path.suffix == ".npz":
        unknown = task.unknown(len(ids), len(classes))
        written = predictions.Predictions(ids, mean, unknown, classes, names, contents, task=task.name)
        return predictions.write(path, written)
    order = np.argsort(-mean, axis=1, kind="stable")[:, :top]
    ranks = range(1, order.shape[1] + 1)
    columns: list[Any] = [ids, names, contents]
    for k in order.T:
        columns += [[classes[label] for label in k], mean[ids, k]]
    head = [f"{what}{'' if r == 1 else r}" for r in ranks for what in ("class", "confidence")]
    unlabelled = task.label_columns(classes)
    columns += [[""] * len(ids)] * len(unlabelled)
    header = ["id", "image", "content", *head, *unlabelled, *(f"p({name})" for name in classes)]
    return write_text(path, csv_text(header, zip(*columns, *mean.T, strict=True)))


def _write_ranking(
    path: Path,
    predicted: Predicted,
    mean: np.ndarray,
    classes: tuple[str, ...],
    chosen: np.ndarray,
    scores: np.ndarray,
    rank: str,
) -> Path:
    top = np.argsort(-mean[chosen], axis=1, kind="stable")[:, :SHOWN_CLASSES]
    names = [writable(str(predicted.files[i])) for i in chosen]
    shown_classes = [[(classes[k], float(mean[i, k])) for k in labels] for i, labels in zip(chosen, top, strict=True)]
    margins = [first[1] - second[1] for first, second, *_ in shown_classes]
    ranked = list(zip(names, shown_classes, margins, scores[chosen].tolist(), strict=True))
    page = path.with_name(f"{path.stem}_to_label.html")
    header = ["image", "class", "confidence", "class2", "confidence2", "margin", "score"]
    lines = [[name, *first, *second, margin, score] for name, (first, second, *_), margin, score in ranked]
    write_text(page.with_suffix(".csv"), csv_text(header, lines))
    rows = [dict(zip(("image", "classes", "margin", "score"), values, strict=True)) for values in ranked]
    files = [predicted.files[i] for i in chosen]
    thumbnails = decode.decode_all(files.__getitem__, len(files), Framing(SHOWN_SIZE, "pad"))
    labelling.write_page(page, rank, rows, thumbnails.images)
    return page
