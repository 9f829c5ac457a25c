"""evaluate: trained members, alone and together, on the test images of their run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, f1_score

from efficient_jax import calibration, metrics, preparation, records
from efficient_jax import members as stored
from efficient_jax.data.sources import fingerprint
from efficient_jax.plan import plan
from efficient_jax.prediction import predict_rows
from efficient_jax.report import tables
from efficient_jax.training import parallel, step
from efficient_jax.types import UserError
from efficient_jax.workdir import read_config

SEVERAL_LABELS_HEADERS = ["member", "all labels right, % [95% interval]", *tables.SEVERAL_LABELS.values(), "NLL"]
HEADERS = ["member", "test accuracy, % [95% interval]", "balanced, %", "macro F1, %", "NLL", "ECE"]


def evaluate(members: str = "", out: str = "") -> None:
    """Shows accuracy, calibration and the vote of `members`, RUN[/STAGE] separated by commas; `out` names a JSON file.

    Together, members vote with the mean of their probabilities and, where images have several labels, of their
    thresholds. All must have been tested on the same images.
    """
    console = Console(markup=False, highlight=False)
    if not members:
        raise UserError("evaluate: --members=RUN[/STAGE],... is missing")
    names = members.split(",")
    labels, probabilities, thresholds = _predictions(names, console)
    if len(names) > 1:
        vote = "mean of probabilities"
        probabilities[vote] = np.mean([probabilities[name] for name in names], axis=0)
        thresholds[vote] = np.mean([thresholds[name] for name in names], axis=0).tolist()
    scores = {name: score(found, labels, thresholds[name]) for name, found in probabilities.items()}
    several = labels.ndim == 2
    rows = [[name, tables.accuracy(s), *(_several_cells if several else _cells)(s)] for name, s in scores.items()]
    console.print(tables.rich_table(SEVERAL_LABELS_HEADERS if several else HEADERS, rows))
    if out:
        try:
            records.write_json(Path(out), scores)
        except OSError as error:
            raise UserError(f"--out: cannot write {out!r}: {error.strerror}") from error


def _cells(scores: dict[str, Any]) -> list[str]:
    percents = [f"{100 * scores[name]:.2f}" for name in ("balanced_accuracy", "macro_f1")]
    return [*percents, f"{scores['negative_log_likelihood']:.3f}", f"{scores['calibration_error']:.3f}"]


def _several_cells(scores: dict[str, Any]) -> list[str]:
    return [*tables.several_labels(scores), f"{scores['negative_log_likelihood']:.3f}"]


def score(probabilities: np.ndarray, labels: np.ndarray, thresholds: Sequence[float] = ()) -> dict[str, Any]:
    """`labels` are [n], or [n classes] of 0/1 with `thresholds` [classes] of the probabilities."""
    if labels.ndim == 2:
        losses = metrics.label_losses(probabilities, labels)
        figures = metrics.several_labels(probabilities, labels, np.asarray(thresholds))
        return figures | {"negative_log_likelihood": float(losses.mean())}
    predicted = probabilities.argmax(1)
    return {
        "correct": int((predicted == labels).sum()),
        "n": len(labels),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, average="macro")),
        "negative_log_likelihood": metrics.negative_log_likelihood(probabilities, labels),
        "calibration_error": calibration.expected_calibration_error(probabilities, labels),
    }


def _predictions(
    names: list[str], console: Console
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, list[float]]]:
    """(labels, member -> probabilities of the test images that all members share, member -> its thresholds, if any)."""
    found: dict[str, np.ndarray] = {}
    thresholds: dict[str, list[float]] = {}
    first = ""
    for name in names:
        folder = stored.stage_folder(Path(name), "--members")
        config = read_config(folder.parent, "--members")
        # Of the plan only the data: no stage is trained, and any number of devices will do.
        run = preparation.prepare(plan(config)._replace(stages=(), devices=0), folder.parent, console)
        test = f"{fingerprint(run.source)} {run.split['test'].tolist()}"
        if found and test != first:
            raise UserError(f"--members: {name!r} was tested on other images than {names[0]!r}")
        first = test
        apply, variables, description = stored.load(folder, "--members")
        variables = parallel.replicate(variables, run.devices)
        predict = step.make_predict(apply, run.devices, description["multi_label"])
        seen = preparation.at_size(run, description["image_shape"][0])
        found[name] = predict_rows(predict, variables, run.split["test"], seen)
        thresholds[name] = description.get("thresholds", [])
    return run.source.labels[run.split["test"]], found, thresholds
