"""Members of an ensemble: predictions of trained stages, or of files, for the test and validation images of a run."""

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
    """The predictions of one member."""

    name: str
    test: Predictions
    validation: Predictions | None  # None where its run has no validation images, and for files
    thresholds: tuple[float, ...]  # probability of each class from which on it is predicted; () without
    answers: np.ndarray  # int [n ...], predicted labels of the test images
    about: Mapping[str, Any] = NOTHING  # origin of stored figures: stage and step, or members and weights; views


def named(text: str) -> list[str]:
    """Returns the names of the members in a list, each once.

    Args:
        text: names as for `member`, separated by commas. A star stands for any part of a name, and `RUN/STAGE@*` for
            all checkpoints of the stage.

    Raises: UserError for a pattern that matches nothing, and for a path that holds no trained stage.
    """
    names: list[str] = []
    for pattern in text.split(","):
        path, separator, step = pattern.partition("@")
        paths = sorted(glob.glob(path)) if "*" in path else [path]
        if not paths:
            raise UserError(f"{WHERE}: there is no {path!r}")
        for name in paths:
            if separator and step == "*":
                folder, _ = stage_and_step(name, WHERE)
                names += [f"{folder}@{number}" for number in checkpoint.steps(folder)]
            else:
                names.append(name + separator + step)
    return list(dict.fromkeys(names))


def member(name: str, console: Console, views: str = "none") -> Member:
    """Returns the predictions of a member. Those of a finished stage are on disk; otherwise its model is run.

    Args:
        name: RUN, RUN/STAGE, RUN/STAGE@STEP, or a file of predictions.
        console: shows how the images of the run have changed since.
        views: test-time augmentation, as for `tta.parse_views`; other than "none" it runs the model of a stage.

    Raises: UserError for a name that is none of these.
    """
    if Path(name).suffix in predictions.SUFFIXES:
        test = predictions.read(Path(name), WHERE)
        made = answering(name, test, None, (0.5,) * len(test.classes))
        return made._replace(about={"file": name, "step": None, "views": None})
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
    return made._replace(about={"stage": str(folder), "step": update, "views": views})


def answering(name: str, test: Predictions, validation: Predictions | None, thresholds: Sequence[float]) -> Member:
    """Returns a member whose predicted labels follow from its probabilities.

    Args:
        name: name of the member.
        test: predictions for the test images.
        validation: predictions for the validation images; None: there are none.
        thresholds: probability of each class from which on it is predicted, for tasks that have thresholds.
    """
    task = TASKS[test.task]
    thresholds = tuple(thresholds) if task.thresholds else ()
    return Member(name, test, validation, thresholds, task.answers(test.probabilities, thresholds))


def aligned(members: Sequence[Member], say: Callable[[str], None]) -> list[Member]:
    """Returns members with the indices, order and labels of the test images of one of them.

    That is the first member of a run, or else the first with labels. Images are identified by content or name, see
    `predictions.rows_of`. A file without labels, as `predict` writes them, may have images that the run does not test
    on; they are left out.

    Args:
        members: one or more.
        say: shows a line on images that are left out.

    Raises: UserError where no member has labels, or only for some images, and where the images are not the same.
    """
    with_labels = [one for one in members if (one.test.labels >= 0).any()]
    known = next((one for one in with_labels if run_folder(one.name)), next(iter(with_labels), None))
    if known is None:
        raise UserError(f"{WHERE}: no member has labels of the images; add one that does: a run, or a file with labels")
    if missing := int((~TASKS[known.test.task].known(known.test.labels)).sum()):
        raise UserError(
            f"{WHERE}: {counted(missing, 'image')} of {known.name!r} without a label; leave such images out of the file"
        )
    result = []
    for one in members:
        more = None if (one.test.labels >= 0).any() else say
        _, test = predictions.matched([known.test, one.test], [known.name, one.name], WHERE, more)
        result.append(answering(one.name, test, one.validation, one.thresholds)._replace(about=one.about))
    return result


@functools.lru_cache(maxsize=1)
def prepared(workdir: Path, console: Console) -> Run:
    """Returns a run with its images and its split, on the devices; the last one is kept in memory.

    Args:
        workdir: folder of the run.
        console: shows how its images have changed since.

    Raises: UserError as `run.reopened`.
    """
    return reopened(workdir, WHERE, console)


def run_of_stage(trained: Trained, console: Console) -> Run:
    """Returns the run of a trained stage, see `prepared`.

    Args:
        trained: the stage.
        console: shows how the images of the run have changed since.

    Raises: UserError for packaged weights, which belong to no run, and as `prepared`.
    """
    if trained.folder is None:
        raise UserError(f"{WHERE}: {trained.name!r} is not a stage of a run, so it has no test images")
    return prepared(trained.folder.parent, console)


def by_model(trained: Trained, run: Run, views: str = "none") -> Member:
    """Runs a model on the test and validation images of a run.

    Args:
        trained: the model.
        run: its run, as from `prepared`.
        views: test-time augmentation, as for `tta.parse_views`.

    Raises: UserError for unknown views, and for a hard vote where an image can have several labels.
    """
    _, apply = trained.spec.build()
    task = TASKS[trained.spec.task]
    seen_views, vote = tta.parse_views(views, "--tta")
    if views != "none":
        apply = through_views(apply, seen_views, task, vote)
    predict = make_predict(apply, run.devices, task)
    resized = at_model_size(run, trained.spec)
    placed = parallel.replicate(trained.variables, run.devices)
    predicted: dict[str, Predictions] = {}
    for split in predictions.FILES:
        if len(ids := run.split[split]):
            probabilities = predict_rows(predict, placed, ids, resized)
            predicted[split] = predictions.gather(run.source, ids, probabilities)._replace(shares=vote == "hard")
    return answering(trained.name, predicted["test"], predicted.get("validation"), trained.spec.thresholds)


def at_model_size(run: Run, spec: ModelSpec) -> Run:
    """Returns a run with its images resized to those of a model.

    Args:
        run: as from `prepared`.
        spec: of the model.
    """
    return run if spec.image_shape == run.source.images.shape[1:] else at_size(run, spec.image_shape[0])


def run_of(names: Sequence[str], console: Console) -> Run | None:
    """Returns the run of the first member that belongs to one, see `prepared`.

    Args:
        names: as for `member`.
        console: shows how the images of the run have changed since.

    Returns: None where all members are files, or stages without the rest of their run.

    Raises: UserError as `prepared`.
    """
    workdir = next(filter(None, map(run_folder, names)), None)
    return prepared(workdir, console) if workdir else None


def run_folder(name: str) -> Path | None:
    """Returns the folder of the run of a member; None for a file, and for a stage without the rest of its run.

    Args:
        name: as for `member`.

    Raises: UserError for a path that holds no trained stage.
    """
    if Path(name).suffix in predictions.SUFFIXES:
        return None
    workdir = stage_and_step(name, WHERE)[0].parent
    return workdir if (workdir / "config.json").is_file() else None


def answered_rightly(member: Member) -> Bool[np.ndarray, " n"]:
    """Returns which test images a member predicts correctly; of several labels all have to be right.

    Args:
        member: the member.
    """
    return TASKS[member.test.task].correct(member.answers, member.test.labels)


def figures(member: Member) -> dict[str, Any]:
    """Returns the metrics of the task on the test images.

    Where there are validation images and the task has a calibration, these include the temperature that is fitted to
    them, and likelihood and calibration error on the test images with it.

    Args:
        member: the member.
    """
    task, test, validation = TASKS[member.test.task], member.test, member.validation
    scores = task.metrics(test.probabilities, test.labels, member.answers, test.classes, test.shares)
    if task.calibrated and validation and not test.shares:
        scores |= task.calibrated(validation.probabilities, validation.labels, test.probabilities, test.labels)
    return scores
