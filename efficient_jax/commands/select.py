"""select: which images of a folder to label next."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.commands.files import PROGRAM
from efficient_jax.data import decode, delimited, image_files
from efficient_jax.data.class_names import is_no_label, writable
from efficient_jax.data.framing import Framing
from efficient_jax.distributed import log
from efficient_jax.errors import UserError, counted
from efficient_jax.evaluation import folder_images
from efficient_jax.explore import features
from efficient_jax.files import csv_text, write_text
from efficient_jax.inference import predictions
from efficient_jax.labelling import label_pool
from efficient_jax.labelling.label_pool import Pool
from efficient_jax.metrics import calibration
from efficient_jax.report import labelling
from efficient_jax.selection import coverage
from efficient_jax.tasks import TASKS
from efficient_jax.training.trained import Trained

THUMBNAIL = 40  # pixels, of the images among which duplicates are searched
SHOWN_SIZE, SHOWN = 224, 300  # pixels of an image on the page, and how many it has
HEADER = ["file", "label", "part", "order", "covers", "reason"]
CLAIM = "their figure can be trusted; the others are chosen."
TEST, TEST_SHARE = 40, 5  # images that are drawn for the test, and at most one in so many


class Choice(NamedTuple):
    """The images to label, in order."""

    images: Int[np.ndarray, " count"]  # indices
    covers: Float[np.ndarray, " count"]  # share of the unlabelled images that are nearest to each
    reasons: list[str]  # why each was chosen
    how: str  # how all were chosen, a sentence


def select(
    images: str = "",
    count: int = 40,
    members: str = "",
    labels: str = "",
    test: int = -1,
    out: str = "to_label.csv",
) -> None:
    """Chooses the images of a folder that are most worth labelling, and shows them on a page.

    Without members it chooses images that cover the folder best (MaxHerding); with members, those that cover best what
    these are unsure of (UHerding). Never an image that has a label, is a test or validation image of the members, is a
    duplicate of another image, or cannot be read. Before the first choice images for a test are drawn at random, which
    are never chosen: only figures on these hold for the rest. OUT has the columns file, label, part ("test" or
    "selected"), order, covers and reason: once the column label is filled in, it is a table of labels, for --labels and
    for the source "table".

    Args:
        images: folder of images. Those in class folders (FOLDER/cat) are labelled; those in FOLDER/unlabelled or in no
            folder are not.
        count: number of images to choose, 1 or more.
        members: RUN or RUN/STAGE, separated by commas; empty: no model is needed.
        labels: table with the columns file (below FOLDER) and label; class folders then have no meaning. Images whose
            column part says test or validation are not chosen.
        test: number of images that are also drawn at random for the test, which come first; -1: 40, or a fifth of the
            images where that is fewer, if there are no members and nothing is labelled or held out yet, else none.
        out: the file, .csv; the page is beside it, .html.

    Raises:
        UserError: the folder, a member or the table does not exist or does not fit, or fewer images are left.
    """
    path = Path(out)
    _check_out(path)
    if count < 1:
        raise UserError(f"--count: {count} is too small; want 1 or more")
    if test < -1:
        raise UserError(f"--test: {test} is too small; want 0 or more, or -1 for the default")
    walked = folder_images.walked(images, "select")
    known = (
        label_pool.of_table(walked.files, images, labels)
        if labels
        else label_pool.of_class_folders(walked.files, images)
    )
    trained = [Trained.open(name, "--members") for name in members.split(",") if members]
    networks = folder_images.networks(trained)
    if trained and not (task := TASKS[trained[0].spec.task]).one_class:
        raise UserError(f"--members: they predict {task.labels} for each image; want one class, or no members")
    first, about_features = features.available(networks[0] if networks else None)
    seen = folder_images.read(walked.files, networks or [*filter(None, [first])], THUMBNAIL)
    pool = label_pool.pool(seen, known, [label_pool.parts_of_run(member) for member in trained])
    drawn, pool = _drawn(pool, 0 if trained and test < 0 else test)
    left_out = pool.notes(len(seen.unreadable))
    if count > pool.free.sum():
        raise UserError(
            f"--count: {count} asked, and {counted(int(pool.free.sum()), 'image')} of {images!r} can be chosen "
            f"({', '.join(left_out) or 'there are no more'}; labels are those of {known.how})"
        )
    vectors = seen.features if first else features.components(seen.thumbnails)
    choice = _choose(vectors, seen.probabilities, pool, trained, count)
    picks = [seen.files[i] for i in (*drawn, *choice.images)]
    names = [writable(str(file.relative_to(images))) for file in picks]
    tests = len(drawn)
    reasons = [*["at random, for the test"] * tests, *choice.reasons]
    parts = ["test"] * tests + ["selected"] * count
    covers = [""] * tests + [f"{share:.4f}" for share in choice.covers]
    columns = names, [""] * len(names), parts, range(1, len(names) + 1), covers, reasons
    about = [
        *([f"{counted(tests, 'random image')} for the test: {CLAIM}"] if tests else []),
        f"{counted(count, 'image')} of {int(pool.free.sum()):,} without a label, in the order in which they were "
        f"chosen. {choice.how} Images are compared by {about_features}.",
        "The chosen ones are no random sample: figures that are measured on them, such as accuracy or calibration, do "
        "not hold for other images.",
        *([f"Left out: {', '.join(left_out)}."] if left_out else []),
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, csv_text(HEADER, zip(*columns, strict=True)))
        page = _write_page(path.with_suffix(".html"), about, names, reasons, picks)
    except OSError as error:
        raise UserError(f"--out: cannot write {out!r}: {error.strerror}") from error
    for line in about:
        log(line)
    if seen.unreadable:
        log(f"left out {decode.listed(seen.unreadable)}")
    for note in image_files.note(walked.passed_over):
        log(f"note: {note}")
    log(f"to label next: {path}, {page}")
    command = [*PROGRAM.split(), "label", f"--images={images}", f"--order={out}"]
    command += [f"--members={members}"] if members else []
    command += [f"--out={labels}"] if labels else []
    classes = "" if members or labels else " --classes=cat,dog   (your classes)"
    log(f"next: {shlex.join(command)}{classes}")


def _drawn(pool: Pool, test: int) -> tuple[Int[np.ndarray, " test"], Pool]:
    """Returns the images that are drawn at random for the test, and the pool in which they are held out."""
    free = np.flatnonzero(pool.free)
    if test < 0:
        test = 0 if (pool.labelled | pool.held_out).any() else min(TEST, len(free) // TEST_SHARE)
    if test > len(free):
        raise UserError(f"--test: {test} asked, and {counted(len(free), 'image')} can be drawn")
    drawn = np.random.default_rng(0).permutation(free)[:test]
    is_drawn = np.isin(np.arange(len(pool.free)), drawn)
    return drawn, pool._replace(held_out=pool.held_out | is_drawn, free=pool.free & ~is_drawn)


def _choose(
    vectors: np.ndarray, probabilities: np.ndarray, pool: Pool, members: Sequence[Trained], count: int
) -> Choice:
    """Chooses images of a pool, by what members predict, or without any by the features alone."""
    rows = np.flatnonzero(pool.free | pool.labelled)
    vectors, labelled = vectors[rows], np.flatnonzero(pool.labelled[rows])
    if members:
        tempered, what = _tempered(members, probabilities[:, rows])
        chosen = coverage.uncertainty_coverage(vectors, tempered, count, labelled)
        how = f"What they cover is weighted by how unsure {what} are (UHerding, arXiv 2412.20644)."
        guesses = _likely(tempered[chosen], members[0].spec.classes)
    else:
        chosen = coverage.coverage(vectors, count, labelled)
        how = "They cover the pool as well as so few images can (MaxHerding, arXiv 2407.12212)."
        guesses = [""] * count
    covers = coverage.shares(vectors, chosen, labelled)
    reasons = [
        f"{guess}nearest to {100 * share:.1f}% of the pool" for guess, share in zip(guesses, covers, strict=True)
    ]
    return Choice(rows[chosen], covers, reasons, how)


def _check_out(path: Path) -> None:
    """Refuses a file that is no table, and one in which somebody has entered labels."""
    if path.suffix != ".csv":
        raise UserError(f"--out: {str(path)!r} is no .csv")
    if path.is_file():
        content = delimited.read(path, "--out", HEADER)
        if "label" in content.names and not all(map(is_no_label, content.column("label"))):
            raise UserError(f"--out: {str(path)!r} has labels; give it as --labels, and another file as --out")


def _tempered(members: Sequence[Trained], probabilities: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns (mean probabilities of the members, each at the temperature of its validation images; what they are)."""
    temperatures = []
    for member in members:
        file = member.folder / predictions.FILES["validation"] if member.folder else Path()
        known = predictions.read(file, "--members") if file.is_file() else None
        temperatures.append(calibration.temperature(known.probabilities, known.labels) if known else None)
    parts = [calibration.tempered(p, t or 1.0) for p, t in zip(probabilities, temperatures, strict=True)]
    shown = [f"{t:.2f}" if t else "1 (no validation images)" for t in temperatures]
    names = [f"{member.name} at temperature {t}" for member, t in zip(members, shown, strict=True)]
    return np.mean(parts, 0), f"the predictions of {', '.join(names)}"


def _likely(probabilities: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Returns the two most probable classes of each image, as the beginning of a sentence."""
    pairs = np.argsort(-probabilities, axis=1, kind="stable")[:, :2].tolist()
    return [
        f"{classes[a]} {100 * p[a]:.0f}% or {classes[b]} {100 * p[b]:.0f}%; "
        for (a, b), p in zip(pairs, probabilities, strict=True)
    ]


def _write_page(
    path: Path, about: Sequence[str], names: Sequence[str], reasons: Sequence[str], picks: Sequence[Path]
) -> Path:
    shown = picks[:SHOWN]
    images = decode.decode_all(shown.__getitem__, len(shown), Framing(SHOWN_SIZE, "pad")).images
    rows = [
        {"order": order, "name": name, "reason": reason}
        for order, (name, reason) in enumerate(zip(names[:SHOWN], reasons, strict=False), 1)
    ]
    return labelling.write_page(path, about, rows, images)
