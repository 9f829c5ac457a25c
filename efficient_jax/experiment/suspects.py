"""Labelled images whose label looks wrong, by out-of-fold predictions: listed, and left out, unlabelled or weighed.

`suspects.csv` in the folder of a stage has a line for each of them, the surest first.
"""

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from efficient_jax import files, models
from efficient_jax.data import label_errors, progress_bar
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment import initialise
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.methods import linear_head
from efficient_jax.tasks import targets
from efficient_jax.training import checkpoint, classifier
from efficient_jax.training.trained import Trained

TABLE, ABOUT = "suspects.csv", "suspects.json"
COLUMNS = ("id", "image", "label", "suggested", "p(label)", "p(suggested)", "action", "hidden")
BATCH = 64  # images, on one device: the list is the same on any number of devices
BLOCK = 4096  # images that are in memory together at the size of the network
KEPT = "keep"
DONE = {"drop": "dropped", "unlabel": "unlabelled", "weight": "weighted"}


class Suspects(NamedTuple):
    """Labelled images whose label looks wrong, the surest first."""

    ids: Int[np.ndarray, " m"]
    probabilities: Float[np.ndarray, " m"]  # out-of-fold, of their labels
    actions: tuple[str, ...]  # that of the stage, or `KEPT` for the last images of a class


def applied(stage: StageConfig, run: Run) -> tuple[Run, Float[np.ndarray, " n"] | None]:
    """Finds the suspects of a stage and does with them what `config.<stage>.suspects` says.

    Args:
        stage: its config; without suspects nothing happens.
        run: its run.

    Returns: (the run as the stage sees it, without the labels of suspects that are dropped or unlabelled; weight of
        each labelled image, None where all count alike).

    Raises: UserError for a network whose images do not fit, and where a stream is left without images.
    """
    if not stage.suspects:
        return run, None
    suspects = _suspects(stage, run)
    action, source, split = stage.suspects["action"], run.data.source, run.data.split
    acted = np.array([done == action for done in suspects.actions], bool)
    ids = suspects.ids[acted]
    if action == "weight":
        weights = np.ones(len(source.labels))
        weights[ids] = suspects.probabilities[acted]
        return run, weights[split["labelled"]]
    split = split | {"labelled": np.setdiff1d(split["labelled"], ids)}
    if action == "unlabel":
        split["unlabelled"] = np.union1d(split["unlabelled"], ids).astype(np.int32)
        labels = source.labels.copy()
        labels[ids] = run.true_labels[ids] if run.plan.label_noise else -1  # hidden, as those of the others
        source = source._replace(labels=labels)
        if not len(split["unlabelled"]):
            raise UserError(
                f"config.{stage.name}.suspects: no label looks wrong, and no other image is unlabelled; leave it out"
            )
    return run._replace(data=dataclasses.replace(run.data, source=source, split=split)), None


def _suspects(stage: StageConfig, run: Run) -> Suspects:
    """Returns the suspects. An interrupted stage reads them from its folder, if they are by the same network."""
    folder, settings, source, plan = run.workdir / stage.name, stage.suspects, run.data.source, run.plan
    name, trained = settings["features"] or stage.init, network(stage, run)
    hashes = {"network": name, "network_hash": checkpoint.fingerprint(trained.variables)}
    origin = settings | hashes | {"seed": plan.seed}
    if suspects := _read(folder, origin):
        run.log(stage.name, f"suspects are those of {TABLE}")
        return suspects
    earlier = plan.by_name.get(name)
    if earlier and earlier.method.trains and earlier.method.trains_head(earlier.method_settings):
        run.log(stage.name, f"{name!r} was trained on labels: it has learned wrong ones too, and shows fewer of them")
    ids = run.data.split["labelled"]
    labels = source.labels[ids]
    with progress_bar.waiting(f"{stage.name}: looking for wrong labels", run.console):
        features = _features(run, trained, ids)
        if not np.isfinite(features).all():
            raise UserError(f"config.{stage.name}.suspects: features of {name!r} are not finite; take another network")
        probabilities = linear_head.out_of_fold(features, targets(source, ids), plan.seed)
    rows, suggested = label_errors.suspects(labels, probabilities)
    spare = np.isin(rows, label_errors.sparing(rows, labels, settings["keep"]))
    actions = tuple(np.where(spare, settings["action"], KEPT).tolist())
    suspects = Suspects(ids[rows], probabilities[rows, labels[rows]], actions)
    counts = _audit(run, suspects.ids, suggested)
    files.write_text(folder / TABLE, _table(run, suspects, suggested, probabilities[rows, suggested]))
    files.write_json(folder / ABOUT, origin | counts)  # last: where it exists, the table is complete
    run.log(stage.name, _line(stage, counts, int(spare.sum()), name))
    return suspects


def network(stage: StageConfig, run: Run) -> Trained:
    """Returns the network whose features show the suspects of a stage: that of `features`, or the start of the stage.

    Args:
        stage: a stage with suspects, whose network is trained.
        run: its run.

    Raises: UserError for one that is not there, or that takes images of other channels.
    """
    if name := stage.suspects["features"]:
        where = f"config.{stage.name}.suspects.features"
        trained, channels = run.trained(name, where), run.data.source.images.shape[-1]
        if channels not in (1, len(trained.spec.mean)):
            wanted = counted(len(trained.spec.mean), "channel")
            raise UserError(f"{where}: {name!r} takes images of {wanted}, those of the data have {channels}")
        return trained
    spec = run.spec(stage)
    module, shape = spec.build()[0], spec.input_shape
    fresh = models.shapes(module, shape)
    variables, _ = initialise.variables(stage, fresh, spec.classes, shape, run.trained, spec.head)
    return Trained(stage.init, spec, models.completed(module, jax.random.key(0), shape, variables))


def _features(run: Run, trained: Trained, ids: np.ndarray) -> Float[np.ndarray, "n d"]:
    predict = classifier.network(trained, BATCH).predict
    blocks = [run.data.pixels(ids[i : i + BLOCK], trained.spec) for i in range(0, len(ids), BLOCK)]
    return np.concatenate([predict(block)[1] for block in blocks])


def _audit(run: Run, ids: np.ndarray, suggested: np.ndarray) -> dict[str, int]:
    """Returns numbers of images; where labels are wrong on purpose, also how many of them were found."""
    labelled = run.data.split["labelled"]
    labels, truth = run.data.source.labels, run.true_labels
    counts = {"labelled": len(labelled), "suspects": len(ids)}
    if run.plan.label_noise:
        counts |= {
            "wrong": int((labels[labelled] != truth[labelled]).sum()),
            "wrong_suspects": int((labels[ids] != truth[ids]).sum()),
            "right_suggestions": int((suggested == truth[ids]).sum()),
        }
    return counts


def _line(stage: StageConfig, counts: Mapping[str, int], acted: int, name: str) -> str:
    suspects = counts["suspects"]
    looks = f"{suspects:,} of {counts['labelled']:,} labels look wrong by the features of {name!r}"
    kept = f", {suspects - acted:,} kept as the last of their class" if suspects > acted else ""
    known = ""
    if "wrong" in counts:
        known = f"; {counts['wrong_suspects']:,} of them are wrong, of {counts['wrong']:,} wrong labels"
    return f"{looks}: {acted:,} {DONE[stage.suspects['action']]}{kept} ({TABLE}){known}"


def _table(run: Run, suspects: Suspects, suggested: np.ndarray, p_suggested: np.ndarray) -> str:
    """Returns the list as CSV. `hidden` is the true label where it is known, which no model sees."""
    source, known = run.data.source, bool(run.plan.label_noise)
    columns = [
        suspects.ids.tolist(),
        [source.name(i) for i in suspects.ids],
        [source.classes[i] for i in source.labels[suspects.ids]],
        [source.classes[i] for i in suggested],
        [repr(float(p)) for p in suspects.probabilities],  # the same bits when read
        [repr(float(p)) for p in p_suggested],
        suspects.actions,
        [source.classes[i] if known else "" for i in run.true_labels[suspects.ids]],
    ]
    return files.csv_text(COLUMNS, zip(*columns, strict=True))


def _read(folder: Path, origin: Mapping[str, Any]) -> Suspects | None:
    """Returns the suspects in the folder of a stage, if they were found by the same network and settings."""
    if not (folder / ABOUT).is_file() or not (folder / TABLE).is_file():
        return None
    record = files.read_json(folder / ABOUT)
    if {name: record.get(name) for name in origin} != origin:
        return None
    with (folder / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids, probabilities = ([row[name] for row in rows] for name in ("id", "p(label)"))
    return Suspects(np.array(ids, np.int32), np.array(probabilities, float), tuple(row["action"] for row in rows))
