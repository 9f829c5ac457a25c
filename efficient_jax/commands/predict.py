"""predict: what trained members say of new pictures, and which of these to label next."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from efficient_jax import settings
from efficient_jax.data import dataset, decode, picture_files
from efficient_jax.data.class_names import writable
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError, counted
from efficient_jax.files import csv_text, write_text
from efficient_jax.inference import predictions
from efficient_jax.inference.tta import VIEWS, View
from efficient_jax.report import labelling
from efficient_jax.selection import uncertainty
from efficient_jax.tasks import TASKS, Task
from efficient_jax.training.classifier import Network, network
from efficient_jax.training.trained import Trained

CHUNK = 256  # pictures that are decoded and predicted together
SHOWN_SIZE = 128  # pixels of a picture on the page
SHOWN_CLASSES = 3  # of a picture on the page


class Predicted(NamedTuple):
    """Of the pictures that could be read."""

    files: list[Path]
    probabilities: np.ndarray  # float32 [members n classes]
    features: np.ndarray  # float32 [n d], of the first member
    unreadable: dict[str, str]  # file -> why
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
        members: RUN or RUN/STAGE, separated by commas; the mean of their probabilities counts.
        images: folder of images.
        out: the file, .csv or .npz.
        tta: views of every image whose mean counts: none, flips, d4, shifts, crops, ten_crops or scales.
        top: number of classes that are listed for each image, 1 or more.
        rank: entropy, margin or disagreement (of several members): also writes OUT_to_label.csv and .html, the images
            that are most worth labelling, unlike each other; empty: does not.
        count: number of these images, 1 or more.
    """
    console = Console(markup=False, highlight=False)
    path = Path(out)
    for flag, number in (("--top", top), ("--count", count)):
        if number < 1:
            raise UserError(f"{flag}: {number} is not a number from 1 on")
    networks = _networks(members, settings.choose(tta, VIEWS, "--tta"))
    files, passed_over = _files(images)
    task = TASKS[networks[0].spec.task]
    if path.suffix not in predictions.SUFFIXES:
        raise UserError(f"--out: {out!r} is neither a .csv nor an .npz")
    if rank:
        settings.choose(rank, uncertainty.RANKINGS, "--rank")
        if rank == "disagreement" and len(networks) < 2:
            raise UserError("--rank: disagreement is that of several members; give two or more, or rank by entropy")
        if not task.one_class:
            raise UserError(f"--rank: members predict {task.labels} for each image; the rankings are of one class")
    found = _predict(networks, files, console)
    mean = found.probabilities.mean(0)
    classes = networks[0].spec.classes
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, found, mean, classes, top, task)
    except OSError as error:
        raise UserError(f"--out: cannot write {out!r}: {error.strerror}") from error
    console.print(f"{counted(len(found.files), 'picture')}: {path}", soft_wrap=True)
    if found.unreadable:
        console.print(f"left out {decode.listed(found.unreadable)}", soft_wrap=True)
    for note in picture_files.note(passed_over):
        console.print(f"note: {note}", soft_wrap=True)
    if rank:
        scores = uncertainty.RANKINGS[rank](found.probabilities)
        chosen = uncertainty.diverse(found.features, scores, count)
        page = _write_ranking(path, found, mean, classes, chosen, scores, rank)
        console.print(f"to label next: {page.with_suffix('.csv')}, {page}", soft_wrap=True)


def _networks(names: str, views: Sequence[View]) -> list[Network]:
    if not names:
        raise UserError("predict: --members=RUN[/STAGE],... is missing")
    members = [Trained.open(name, "--members") for name in names.split(",")]
    first = members[0].spec
    for member in members:
        if member.spec.task != first.task:
            raise UserError(
                f"--members: the task of {member.name!r} is {member.spec.task}, of the first member {first.task}"
            )
        if member.spec.classes != first.classes:
            raise UserError(
                f"--members: classes of {member.name!r} are {list(member.spec.classes)}, of the first member "
                f"{list(first.classes)}"
            )
    return [network(member, CHUNK, views) for member in members]


def _files(images: str) -> picture_files.Walked:
    if not images:
        raise UserError("predict: --images=FOLDER is missing")
    if not Path(images).is_dir():
        raise UserError(f"--images: {images!r} is {'a file' if Path(images).exists() else 'not there'}; want a folder")
    found = picture_files.pictures(Path(images), "--images")
    if not found.files:
        raise UserError(f"--images: no pictures in {images!r} or the folders below it")
    return found


def _predict(networks: Sequence[Network], files: list[Path], console: Console) -> Predicted:
    read: list[Path] = []
    parts, features, contents = [], [], []
    unreadable: dict[str, str] = {}
    framings = [each.spec.picture_framing() for each in networks]
    for chunk in track(_chunks(files), "predicting", -(-len(files) // CHUNK), console=console, transient=True):
        decoded = {  # once for members that see pictures alike
            framing: decode.decode_all(chunk.__getitem__, len(chunk), framing) for framing in set(framings)
        }
        for of_framing in decoded.values():
            unreadable |= {writable(str(chunk[row])): why for row, why in of_framing.unreadable.items()}
        first = next(iter(decoded.values()))
        read += [chunk[row] for row in first.rows]
        contents += dataset.shown(first.contents)
        predicted = [each.predict(decoded[framing].images) for each, framing in zip(networks, framings, strict=True)]
        parts.append(np.stack([probabilities for probabilities, _ in predicted]))
        features.append(predicted[0][1])
    if not read:
        raise UserError(f"--images: none of its pictures can be read: {decode.listed(unreadable)}")
    return Predicted(read, np.concatenate(parts, 1), np.concatenate(features), unreadable, tuple(contents))


def _chunks(files: list[Path]) -> Iterator[list[Path]]:
    return (files[i : i + CHUNK] for i in range(0, len(files), CHUNK))


def _write(path: Path, found: Predicted, mean: np.ndarray, classes: tuple[str, ...], top: int, task: Task) -> None:
    """The columns of `predictions`, so that `evaluate` reads it, and before them the most probable classes."""
    names, ids = tuple(writable(str(file)) for file in found.files), np.arange(len(found.files))
    contents = found.contents
    if path.suffix == ".npz":
        unknown = task.unknown(len(ids), len(classes))
        written = predictions.Predictions(ids, mean, unknown, classes, names, contents, task=task.name)
        return predictions.write(path, written)
    order = np.argsort(-mean, axis=1, kind="stable")[:, :top]
    ranks = range(1, order.shape[1] + 1)
    columns: list[Any] = [ids, names, contents]
    for k in order.T:
        columns += [[classes[number] for number in k], mean[ids, k]]
    head = [f"{what}{'' if r == 1 else r}" for r in ranks for what in ("class", "confidence")]
    unlabelled = task.label_columns(classes)
    columns += [[""] * len(ids)] * len(unlabelled)
    header = ["id", "image", "content", *head, *unlabelled, *(f"p({name})" for name in classes)]
    return write_text(path, csv_text(header, zip(*columns, *mean.T, strict=True)))


def _write_ranking(
    path: Path,
    found: Predicted,
    mean: np.ndarray,
    classes: tuple[str, ...],
    chosen: np.ndarray,
    scores: np.ndarray,
    rank: str,
) -> Path:
    top = np.argsort(-mean[chosen], axis=1, kind="stable")[:, :SHOWN_CLASSES]
    names = [writable(str(found.files[i])) for i in chosen]
    shown_classes = [[(classes[k], float(mean[i, k])) for k in of] for i, of in zip(chosen, top, strict=True)]
    margins = [of[0][1] - of[1][1] for of in shown_classes]
    each = list(zip(names, shown_classes, margins, scores[chosen].tolist(), strict=True))
    page = path.with_name(f"{path.stem}_to_label.html")
    header = ["image", "class", "confidence", "class2", "confidence2", "margin", "score"]
    lines = [[name, *of[0], *of[1], margin, score] for name, of, margin, score in each]
    write_text(page.with_suffix(".csv"), csv_text(header, lines))
    rows = [dict(zip(("image", "classes", "margin", "score"), values, strict=True)) for values in each]
    files = [found.files[i] for i in chosen]
    shown = decode.decode_all(files.__getitem__, len(files), Framing(SHOWN_SIZE, "pad"))
    labelling.write_page(page, rank, rows, shown.images)
    return page
