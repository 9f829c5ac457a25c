"""Members, trained stages and files of predictions: what each predicts for the images of one split."""

import functools
import glob
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from rich.console import Console

from efficient_jax import files
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.predict import predict_rows
from efficient_jax.experiment.run import Run, at_size, reopened
from efficient_jax.inference import predictions, tta
from efficient_jax.inference.predictions import Predictions
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from efficient_jax.training import checkpoint, parallel
from efficient_jax.training.predict import make_predict, through_views
from efficient_jax.training.trained import Trained, stage_and_step

NOTHING: Mapping[str, Any] = MappingProxyType({})
WHERE = "--members"


class Member(NamedTuple):
    """What one member predicts."""

    name: str
    test: Predictions
    validation: Predictions | None  # None where its run has no such images, or a file has only others
    thresholds: tuple[float, ...]  # probability of each class from which on it is answered; () where there are none
    answers: np.ndarray  # int [n ...], what is answered for the test images, as their labels
    about: Mapping[str, Any] = NOTHING  # what stored figures are of: stage and update, or members and weights; views


def named(text: str) -> list[str]:
    """The members that `text` names, separated by commas; `RUN/STAGE@*` are all the snapshots that the stage kept,
    other stars stand for any name."""
    found: list[str] = []
    for pattern in text.split(","):
        path, at, which = pattern.partition("@")
        paths = sorted(glob.glob(path)) if "*" in path else [path]
        if not paths:
            raise UserError(f"{WHERE}: there is no {path!r}")
        for name in paths:
            if at and which == "*":
                folder, _ = stage_and_step(name, WHERE)
                found += [f"{folder}@{number}" for number in checkpoint.steps(folder)]
            else:
                found.append(name + at + which)
    return list(dict.fromkeys(found))


def member(name: str, console: Console, views: str = "none") -> Member:
    """`name` is RUN, RUN/STAGE, RUN/STAGE@UPDATE, or a file of predictions. A stage that is finished has left what it
    predicted; else, and with `views` as for `tta.asked`, its model is run."""
    if Path(name).suffix in predictions.SUFFIXES:
        found = predictions.read(Path(name), WHERE)
        made = answering(name, found, None, (0.5,) * len(found.classes))
        return made._replace(about={"file": name, "update": None, "views": None})
    folder, step = stage_and_step(name, WHERE)
    if step is not None or views != "none" or not (folder / predictions.FILES["test"]).is_file():
        made = by_model(Trained.open(name, WHERE), prepared(folder.parent, console), views)
    else:
        validation = folder / predictions.FILES["validation"]
        made = answering(
            name,
            predictions.read(folder / predictions.FILES["test"], WHERE),
            predictions.read(validation, WHERE) if validation.is_file() else None,
            files.read_json(folder / "result.json").get("thresholds", ()),
        )
    update = checkpoint.chosen(folder) if step is None else step
    return made._replace(about={"stage": str(folder), "update": update, "views": views})


def answering(name: str, test: Predictions, validation: Predictions | None, thresholds: Sequence[float]) -> Member:
    """Returns the member that answers by its probabilities.

    Args:
        name: of the member.
        test: its predictions for the test images.
        validation: for the validation images; None: there are none.
        thresholds: probability of each class from which on it is answered, for tasks that have thresholds.
    """
    task = TASKS[test.task]
    thresholds = tuple(thresholds) if task.thresholds else ()
    return Member(name, test, validation, thresholds, task.answers(test.probabilities, thresholds))


def aligned(found: Sequence[Member], say: Callable[[str], None]) -> list[Member]:
    """Members whose test images have the indices, order and labels of one of them: the first of a run, else the first
    with labels.

    Images are found by content or name, see `predictions.rows_of`. A file without labels, as `predict` writes them, may
    be of more images than the run tests on: `say` shows how many are left out.

    Raises: UserError where no member has labels, or has them for some images only, and where images are others.
    """
    with_labels = [each for each in found if (each.test.labels >= 0).any()]
    known = next((each for each in with_labels if run_folder(each.name)), next(iter(with_labels), None))
    if known is None:
        raise UserError(
            f"{WHERE}: nobody says what the images show; add a member that does: a run, or a file with labels"
        )
    if missing := int((~TASKS[known.test.task].known(known.test.labels)).sum()):
        raise UserError(
            f"{WHERE}: {counted(missing, 'image')} of {known.name!r} without a label; leave such images out of the file"
        )
    result = []
    for each in found:
        more = None if (each.test.labels >= 0).any() else say
        _, test = predictions.matched([known.test, each.test], [known.name, each.name], WHERE, more)
        result.append(answering(each.name, test, each.validation, each.thresholds)._replace(about=each.about))
    return result


@functools.lru_cache(maxsize=1)
def prepared(workdir: Path, console: Console) -> Run:
    """The data of a run as it had them, on the devices."""
    return reopened(workdir, WHERE, console)


def run_of_stage(trained: Trained, console: Console) -> Run:
    """`prepared` of the run that a stage is of. Raises: UserError for packaged weights, which are of no run."""
    if trained.folder is None:
        raise UserError(f"{WHERE}: {trained.name!r} is no stage of a run, so it has no test images")
    return prepared(trained.folder.parent, console)


def by_model(trained: Trained, run: Run, views: str = "none") -> Member:
    """What a model predicts for the test and validation images of `run`, or of `views` of them together."""
    _, apply = trained.spec.build()
    task = TASKS[trained.spec.task]
    seen_views, vote = tta.asked(views, "--tta")
    if views != "none":
        apply = through_views(apply, seen_views, task, vote)
    predict = make_predict(apply, run.devices, task)
    seen = at_model_size(run, trained.spec)
    placed = parallel.replicate(trained.variables, run.devices)
    found = {
        split: predictions.of(run.source, ids, predict_rows(predict, placed, ids, seen))._replace(shares=vote == "hard")
        for split in predictions.FILES
        if len(ids := run.split[split])
    }
    return answering(trained.name, found["test"], found.get("validation"), trained.spec.thresholds)


def at_model_size(run: Run, spec: ModelSpec) -> Run:
    """`run` with images of the size that the model knows."""
    return run if spec.image_shape == run.source.images.shape[1:] else at_size(run, spec.image_shape[0])


def run_of(names: Sequence[str], console: Console) -> Run | None:
    """The data of the first member that is of a run; None where all are files, or stages alone."""
    workdir = next(filter(None, map(run_folder, names)), None)
    return prepared(workdir, console) if workdir else None


def run_folder(name: str) -> Path | None:
    """The folder of the run that a member is of; None for a file, or a stage alone."""
    if Path(name).suffix in predictions.SUFFIXES:
        return None
    workdir = stage_and_step(name, WHERE)[0].parent
    return workdir if (workdir / "config.json").is_file() else None


def answered_rightly(found: Member) -> Bool[np.ndarray, " n"]:
    """Which test images; of several labels all are right."""
    return TASKS[found.test.task].correct(found.answers, found.test.labels)


def figures(found: Member) -> dict[str, Any]:
    """Returns the metrics of the task on the test images.

    Where there are validation images and the task has a calibration, also the temperature fitted to them, and what it
    makes of likelihood and calibration on the test images.

    Args:
        found: the member.
    """
    task, test, validation = TASKS[found.test.task], found.test, found.validation
    scores = task.metrics(test.probabilities, test.labels, found.answers, test.classes, test.shares)
    if task.calibrated and validation and not test.shares:
        scores |= task.calibrated(validation.probabilities, validation.labels, test.probabilities, test.labels)
    return scores
