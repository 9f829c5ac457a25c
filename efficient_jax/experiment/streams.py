"""The streams of a stage: which images it learns from, and whether they fit its method."""

from collections.abc import Mapping

import numpy as np

from efficient_jax.data.dataset import Labelled
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.config import Plan
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.methods import METHODS, Method
from efficient_jax.methods.held_out import FOLDS
from efficient_jax.settings import choose
from efficient_jax.tasks import TASKS, Task, targets

LESS = "set a lower config.data.labels_per_class, or add images without a label"


def streams(stage: StageConfig, source: Labelled, split: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the images of each stream of a stage.

    Args:
        stage: its config.
        source: the dataset, or what is known of it before it is decoded.
        split: part -> indices of its images.

    Returns: stream -> indices of its images, without those of omitted classes.

    Raises: UserError for an omitted class that does not exist, and for `omit` where images have no labels.
    """
    where = f"config.{stage.name}.omit"
    for stream in stage.batch if stage.omit else ():
        labels = source.labels[split[stream]]
        if unknown := int((~TASKS[source.task].known(labels)).sum()):
            images = counted(unknown, f"image of the {stream} stream has", f"images of the {stream} stream have")
            raise UserError(f"{where}: needs labels, but {images} none")
    return {stream: without_omitted(stage, source, split[stream]) for stream in stage.batch}


def without_omitted(stage: StageConfig, source: Labelled, ids: np.ndarray) -> np.ndarray:
    """Returns indices without the images of classes that a stage omits.

    Args:
        stage: its config.
        source: the dataset, or what is known of it before it is decoded.
        ids: indices of labelled images.

    Raises: UserError for an omitted class that does not exist.
    """
    class_indices = dict(zip(source.classes, range(len(source.classes)), strict=True))
    omitted = [choose(name, class_indices, f"config.{stage.name}.omit") for name in stage.omit]
    return ids[~targets(source, ids)[:, omitted].any(1)] if omitted else ids


def check_streams(plan: Plan, source: Labelled, split: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Checks the stages of a plan against its dataset.

    Args:
        plan: the checked config.
        source: the dataset, or what is known of it before it is decoded.
        split: part -> indices of its images.

    Returns: stage -> stream -> indices of its images.

    Raises: UserError for a method that does not fit the labels, for a stream without images, for class frequencies of
        selected images, and as `streams` and `check_suspects`.
    """
    for stage in plan.stages:
        check_labels(stage, source)
        check_suspects(stage, source, split["labelled"])
    rows = {stage.name: streams(stage, source, split) for stage in plan.stages}
    for stage in plan.stages:
        for stream, size in stage.batch.items():
            gets_suspects = stream == "unlabelled" and stage.suspects.get("action") == "unlabel"
            if not len(rows[stage.name][stream]) and not gets_suspects:
                hint = "label some" if stream == "labelled" else LESS
                raise UserError(f"config.{stage.name}.batch.{stream}: {size} asked, but no image is {stream}; {hint}")
        if not len(split["labelled"]) and _needs_labels(stage):
            raise UserError(
                f"config.{stage.name}.method: {stage.method_name!r} needs labelled images for its head, and none is; "
                "'linear_probe' with head='zero_shot' and class_embeddings needs none"
            )
        if stage.method.correct and stage.method.needs("probabilities") and not len(split["unlabelled"]):
            raise UserError(f"config.{stage.name}.method: {stage.method_name!r} needs images without labels; none is")
        if stage.method.correct and (count := np.isin(split["labelled"], source.fixed.get("selected", ())).sum()):
            raise UserError(
                f"config.{stage.name}.method: {stage.method_name!r} takes class frequencies from the labelled images, "
                f"and {count:,} of {len(split['labelled']):,} were selected: they do not have those of the others"
            )
    return rows


def _needs_labels(stage: StageConfig) -> bool:
    """Returns whether a stage fits or corrects a head by labelled images; embeddings of classes are a head without."""
    if stage.method.fit:
        return not stage.method_settings["class_embeddings"]
    return stage.method.correct is not None or not stage.method.trains_head(stage.method_settings)


def _fits(method: Method, task: Task) -> bool:
    """Returns whether a method learns labels of a task."""
    if method.fits:
        return method.fits(task)
    return task.one_class or method.needs("task")


def check_labels(stage: StageConfig, source: Labelled) -> None:
    """Checks that a stage can learn from the labels of a dataset.

    Args:
        stage: its config.
        source: the dataset, or what is known of it before it is decoded.

    Raises: UserError for a method or a decoder that does not fit its task.
    """
    task = TASKS[source.task]
    if stage.method_name not in (fitting_names := [name for name, method in METHODS.items() if _fits(method, task)]):
        fitting = " or ".join(repr(name) for name in fitting_names)
        raise UserError(
            f"config.{stage.name}.method: {stage.method_name!r} does not fit data with {task.labels} for each image; "
            f"take {fitting}"
        )
    if stage.decoder.get("name", "") != task.decoder:
        raise UserError(
            f"config.{stage.name}.decoder.name: {stage.decoder.get('name', '')!r} does not fit data with {task.labels} "
            f"for each image; say {task.decoder!r}"
        )


def check_suspects(stage: StageConfig, source: Labelled, labelled: np.ndarray) -> None:
    """Checks that wrong labels can be found among the labelled images of a stage with `suspects`.

    Args:
        stage: its config.
        source: the dataset, or what is known of it before it is decoded.
        labelled: indices of the labelled images.

    Raises: UserError for a task other than one class per image, and for a class with too few labelled images.
    """
    where = f"config.{stage.name}.suspects"
    if not stage.suspects:
        return
    if not TASKS[source.task].one_class or source.soft_labels is not None:
        has = "soft labels" if source.soft_labels is not None else TASKS[source.task].labels
        raise UserError(f"{where}: wrong labels are found where each image has one class; here it has {has}")
    counts = np.bincount(source.labels[labelled], minlength=len(source.classes))
    if len(few_images := np.flatnonzero((counts > 0) & (counts < FOLDS))):
        name, count = source.classes[few_images[0]], counted(int(counts[few_images[0]]), "labelled image")
        raise UserError(
            f"{where}: class {name!r} has {count}, and out-of-fold predictions want {FOLDS} of each class; label more "
            "of it, or leave suspects out"
        )
