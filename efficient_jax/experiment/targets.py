"""The targets of a stage: streams of images, with true labels or pseudo-labels."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from efficient_jax.data import progress_bar, sampling
from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError
from efficient_jax.experiment.predict import predict_rows
from efficient_jax.experiment.pseudo_labels import csv_table, parts, shards
from efficient_jax.experiment.pseudo_labels.pool import Pool, Predict, PseudoLabels
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.experiment.streams import streams, without_omitted
from efficient_jax.experiment.teachers import teachers_of
from efficient_jax.inference import tta
from efficient_jax.tasks import TASKS
from efficient_jax.training import checkpoint, parallel
from efficient_jax.training.labels import Labels, hard, soft, table, weighted
from efficient_jax.training.predict import make_predict


class Supervision(NamedTuple):
    """The streams of a stage and their targets."""

    rows: dict[str, np.ndarray]  # stream -> indices of its images, of some several times
    labels: Labels  # of all images, true or pseudo-labels; none where there is neither
    source: Source  # the dataset as the stage may know it, see `supervise`
    pseudo_labels: dict[str, int] | None  # numbers of images, see `audit.audit`


def supervise(stage: StageConfig, run: Run, weights: np.ndarray | None = None) -> Supervision:
    """Returns the streams of a stage and their targets. A teacher makes its pseudo-labels here, without augmentation.

    Labels of pixels and objects are in the images of a step, where an operation such as copy_paste shows them: those of
    unlabelled images are taken out of the dataset, or replaced by pseudo-labels.

    Args:
        stage: its config.
        run: its run.
        weights: of the labelled images, see `suspects.applied`; None: all count alike.

    Raises: UserError for pseudo-labels of which none is kept, and for teachers that do not fit.
    """
    source, split, seed = run.data.source, run.data.split, run.plan.seed
    labels = _true_labels(stage, source, split["labelled"])
    parts = [(split["labelled"], labels if weights is None else weighted(labels, weights))]
    rows = streams(stage, source, split)
    if stage.balanced:
        rows["labelled"] = np.repeat(rows["labelled"], _repeats(source, rows["labelled"], seed))
    if "generated" in split and "labelled" in rows:
        drawn = without_omitted(stage, source, split["generated"])
        parts.append((drawn, _true_labels(stage, source, drawn)))
        coins = np.random.default_rng(seed).random(len(drawn))
        copies = sampling.copies(np.full(len(drawn), run.plan.generated["weight"]), coins)
        rows["labelled"] = np.concatenate([rows["labelled"], np.repeat(drawn, copies)])
    counts = None
    if not run.data.task.by_image and "unlabelled" in rows:
        source = _hidden(source, rows["unlabelled"])
    if stage.method.pseudo_labels and not run.data.task.by_image:
        ids = rows["unlabelled"]
        targets, counts = _parts(stage, run, ids)
        source = source._replace(labels=run.data.task.replaced(source.labels, ids, targets))
        rows["unlabelled"] = ids[run.data.task.known(source.labels[ids])]
        parts.append((rows["unlabelled"], _true_labels(stage, source, rows["unlabelled"])))
    elif stage.method.pseudo_labels:
        made, counts = _pseudo_labels(stage, run, rows["unlabelled"])
        parts.append((made.ids, made.labels))
        rows["unlabelled"] = np.repeat(made.ids, made.copies)
    return Supervision(rows, table(len(source.images), len(source.classes), parts), source, counts)


def _repeats(source: Source, rows: np.ndarray, seed: int) -> np.ndarray:
    """Returns how often each labelled image is repeated for balanced classes."""
    count = len(source.classes)
    ids = hard(lambda part: TASKS[source.task].members(source.labels[part], count), rows, count).ids
    assert ids is not None
    return sampling.balanced(np.asarray(ids), count, seed)


def _true_labels(stage: StageConfig, source: Source, rows: np.ndarray) -> Labels:
    """Returns the true labels of some images, or those of generated ones."""
    task, classes = TASKS[source.task], len(source.classes)
    if source.soft_labels is not None:
        return soft(source.soft_labels[rows], stage.soft_classes, exclusive=task.exclusive)
    return hard(lambda part: task.members(source.labels[part], classes), rows, classes)


def _pseudo_labels(stage: StageConfig, run: Run, ids: np.ndarray) -> tuple[PseudoLabels, dict[str, int]]:
    """Returns (the pseudo-labels of unlabelled images, numbers of images). They are stored in the stage's folder."""
    data, (predict, origin, steps) = run.data, _teaching(stage, run)
    folder, batch, where = run.workdir / stage.name, stage.batch["unlabelled"], f"config.{stage.name}"
    pool = Pool(folder, data.source, data.split["labelled"], ids, batch, stage.soft_classes, where, steps)
    store = shards if shards.suits(pool) else csv_table
    made = store.pseudo_labels(pool, predict, origin, lambda line: run.log(stage.name, line))
    return made, _logged(stage, run, made.about)


def _hidden(source: Source, ids: np.ndarray) -> Source:
    """Returns a dataset without the labels and objects of some images."""
    hidden = {name: values.copy() for name, values in {**source.objects, "labels": source.labels}.items()}
    for name, values in hidden.items():
        values[ids] = TASKS[source.task].no_label if name == "labels" else 0
    return source._replace(labels=hidden.pop("labels"), objects=hidden)


def _parts(stage: StageConfig, run: Run, ids: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Returns (labels of the pixels or objects of unlabelled images, their numbers)."""
    source, folder, settings = run.data.source, run.workdir / stage.name, run.resolved[stage.name].pseudo_labels
    predict, origin, _ = _teaching(stage, run)
    try:
        made, about = parts.pseudo_labels(folder, source, ids, predict, settings, origin)
    except UserError as error:
        raise UserError(f"config.{stage.name}.{error}") from error
    return made, _logged(stage, run, about)


def _teaching(stage: StageConfig, run: Run) -> tuple[Predict, dict[str, Any], tuple[int | None, ...]]:
    """Returns (indices of images -> the mean probabilities of the teachers, what these follow from, the steps of the
    teachers)."""
    data, names = run.data, ", ".join(stage.teachers)
    applies, variables, steps = teachers_of(stage, run)
    hashes = ", ".join(checkpoint.fingerprint(tree) for tree in variables)
    origin: dict[str, Any] = {"teacher": names, "teacher_hash": hashes, "class_map": stage.class_map}
    origin |= {"vote": stage.vote, "method": stage.method_name, "seed": run.plan.seed}
    origin["settings"] = run.resolved[stage.name].pseudo_labels

    def predict(ids: np.ndarray) -> np.ndarray:
        with progress_bar.waiting(f"{stage.name}: predicting {len(ids):,} images", run.console):
            predicted = [
                predict_rows(
                    make_predict(apply, data.devices, data.task),
                    parallel.replicate(tree, data.devices),
                    data.images,
                    ids,
                    data.devices,
                )
                for apply, tree in zip(applies, variables, strict=True)
            ]
        return np.asarray(tta.shares(jnp.stack(predicted))) if stage.vote == "hard" else np.mean(predicted, 0)

    return predict, origin, steps


def _logged(stage: StageConfig, run: Run, statistics: dict[str, Any]) -> dict[str, int]:
    """Returns the numbers of a stage's result, and shows them and the warnings."""
    counts = {name: statistics[name] for name in ("pool", "kept", "known", "right")}
    run.log(stage.name, f"{counts['kept']:,} of {counts['pool']:,} pseudo-labels kept")
    for warning in statistics["warnings"]:
        run.log(stage.name, warning)
    return counts | {"classes_without": len(statistics["without"])}
