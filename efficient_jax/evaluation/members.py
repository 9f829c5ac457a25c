"""Members of an ensemble: predictions of trained stages, or of files, for the test and validation images of a run."""

import functools
import glob
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool

from efficient_jax import files
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.dataset import Data
from efficient_jax.experiment.predict import predict_to_judge
from efficient_jax.inference import matching, predictions, tta
from efficient_jax.inference.predictions import Predictions
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from efficient_jax.training import batches, checkpoint, parallel
from efficient_jax.training.predict import make_predict, through_views
from efficient_jax.training.trained import Trained, stage_and_step
from efficient_jax.types import Tree

NOTHING: Mapping[str, Any] = MappingProxyType({})
WHERE = "--members"

Log = Callable[[str], None]
"""Shows a line."""
Open = Callable[[Path], Data]
"""(folder of a run) -> its images, see `run_opener`."""
Predictor = Callable[[Tree, batches.Images, np.ndarray], np.ndarray]
"""(variables, images as from `batches.place`, indices [n]) -> probabilities [n ... classes], see `predict_to_judge`."""


class Member(NamedTuple):
    """The predictions of one member."""

    name: str
    test: Predictions
    validation: Predictions | None  # None where its run has no validation images, and for files
    thresholds: tuple[float, ...]  # probability of each class from which on it is predicted; () without
    answers: np.ndarray  # int [n ...], predicted labels of the test images
    origin: Mapping[str, Any] = NOTHING  # of stored figures: stage and step, or members and weights; views


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


def member(name: str, open_run: Open, views: str = "none") -> Member:
    """Returns the predictions of a member. Those of a finished stage are on disk; otherwise its model is run.

    Args:
        name: RUN, RUN/STAGE, RUN/STAGE@STEP, or a file of predictions.
        open_run: as from `run_opener`.
        views: test-time augmentation, as for `tta.parse_views`; other than "none" it runs the model of a stage.

    Raises: UserError for a name that is none of these.
    """
    if Path(name).suffix in predictions.SUFFIXES:
        test = predictions.read(Path(name), WHERE)
        of_file = answering(name, test, None, (0.5,) * len(test.classes))
        return of_file._replace(origin={"file": name, "step": None, "views": None})
    folder, step = stage_and_step(name, WHERE)
    if step is not None or views != "none" or not (folder / predictions.FILES["test"]).is_file():
        result = by_model(Trained.open(name, WHERE), open_run(folder.parent), views)
    else:
        validation = folder / predictions.FILES["validation"]
        result = answering(
            name,
            predictions.read(folder / predictions.FILES["test"], WHERE),
            predictions.read(validation, WHERE) if validation.is_file() else None,
            files.read_json(folder / "result.json").get("thresholds", ()),
        )
    chosen = checkpoint.chosen(folder) if step is None else step
    return result._replace(origin={"stage": str(folder), "step": chosen, "views": views})


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


def aligned(members: Sequence[Member], log: Log) -> list[Member]:
    """Returns members with the indices, order and labels of the test images of one of them.

    That is the first member of a run, or else the first with labels. Images are identified by content or name, see
    `matching.rows_of`. A file without labels, as `predict` writes them, may have images that the run does not test
    on; they are left out.

    Args:
        members: one or more.
        log: shows a line on images that are left out.

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
        left_out = None if (one.test.labels >= 0).any() else log
        _, test = matching.matched([known.test, one.test], [known.name, one.name], WHERE, left_out)
        result.append(answering(one.name, test, one.validation, one.thresholds)._replace(origin=one.origin))
    return result


def run_opener(log: Log) -> Open:
    """Returns a function that opens the images of a run; those of the last run stay in memory.

    Args:
        log: shows how the images of a run have changed since.
    """
    return functools.lru_cache(maxsize=1)(lambda workdir: Data.reopen(workdir, WHERE, log))


def data_of(trained: Trained, open_run: Open) -> Data:
    """Returns the images of the run of a trained stage, see `Data.reopen`.

    Args:
        trained: the stage.
        open_run: as from `run_opener`.

    Raises: UserError for packaged weights, which belong to no run, and as `Data.reopen`.
    """
    if trained.folder is None:
        raise UserError(f"{WHERE}: {trained.name!r} is not a stage of a run, so it has no test images")
    return open_run(trained.folder.parent)


def predictor(spec: ModelSpec, devices: Sequence[jax.Device], views: str = "none") -> Predictor:
    """Returns a function that predicts images with weights of a network; it compiles once.

    Args:
        spec: of the network.
        devices: on which it runs; those that hold the images.
        views: test-time augmentation, as for `tta.parse_views`.

    Raises: UserError for unknown views, and for a hard vote where an image can have several labels.
    """
    _, apply = spec.build()
    task = TASKS[spec.task]
    if views != "none":
        parsed_views, vote = tta.parse_views(views, "--tta")
        apply = through_views(apply, parsed_views, task, vote)
    predict = make_predict(apply, devices, task)

    def probabilities(variables: Tree, images: batches.Images, ids: np.ndarray) -> np.ndarray:
        return predict_to_judge(task, predict, parallel.replicate(variables, devices), images, ids, devices)

    return probabilities


def by_model(trained: Trained, data: Data, views: str = "none") -> Member:
    """Runs a model on the test and validation images of a run.

    Args:
        trained: the model.
        data: images of its run, as from `data_of`.
        views: test-time augmentation, as for `tta.parse_views`.

    Raises: UserError as `predictor`.
    """
    predict = predictor(trained.spec, data.devices, views)
    images, shares = data.for_model(trained.spec).images, tta.parse_views(views, "--tta")[1] == "hard"
    predicted = {
        split: predictions.gather(
            data.source, ids, predict(trained.variables, images, ids), data.pixel_areas(ids, trained.spec)
        )._replace(shares=shares)
        for split in predictions.FILES
        if len(ids := data.split[split])
    }
    return answering(trained.name, predicted["test"], predicted.get("validation"), trained.spec.thresholds)


def first_data(names: Sequence[str], open_run: Open) -> Data | None:
    """Returns the images of the run of the first member that belongs to one, see `Data.reopen`.

    Args:
        names: as for `member`.
        open_run: as from `run_opener`.

    Returns: None where all members are files, or stages without the rest of their run.

    Raises: UserError as `Data.reopen`.
    """
    workdir = next(filter(None, map(run_folder, names)), None)
    return open_run(workdir) if workdir else None


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
    if task.test_figures:
        given = test.probabilities, test.labels, member.answers, test.classes, test.pixel_areas
        scores |= task.test_figures(*given)
    if task.calibrated and validation and not test.shares:
        scores |= task.calibrated(validation.probabilities, validation.labels, test.probabilities, test.labels)
    return scores
