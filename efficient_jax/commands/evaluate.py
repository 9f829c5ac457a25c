"""evaluate: trained members, alone and together, on the test images of their run."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, f1_score

from efficient_jax import experiment, metrics, preparation, records
from efficient_jax import members as stored
from efficient_jax.data.sources import fingerprint
from efficient_jax.plan import plan
from efficient_jax.report import tables
from efficient_jax.training import parallel, step
from efficient_jax.types import UserError

HEADERS = ["member", "test accuracy, % [95% interval]", "balanced, %", "macro F1, %", "NLL", "ECE"]


def evaluate(members: str = "", out: str = "") -> None:
    """Shows accuracy, calibration and the vote of `members`, RUN[/STAGE] separated by commas; `out` names a JSON file.

    Together, members vote with the mean of their probabilities. All must have been tested on the same images.
    """
    console = Console(markup=False, highlight=False)
    if not members:
        raise UserError("evaluate: --members=RUN[/STAGE],... is missing")
    names = members.split(",")
    labels, probabilities = _predictions(names, console)
    if len(names) > 1:
        probabilities["mean of probabilities"] = np.mean([probabilities[name] for name in names], axis=0)
    scores = {name: score(found, labels) for name, found in probabilities.items()}
    rows = [
        [
            name,
            tables.accuracy(s),
            f"{100 * s['balanced_accuracy']:.2f}",
            f"{100 * s['macro_f1']:.2f}",
            f"{s['negative_log_likelihood']:.3f}",
            f"{s['calibration_error']:.3f}",
        ]
        for name, s in scores.items()
    ]
    console.print(tables.rich_table(HEADERS, rows))
    if out:
        try:
            records.write_json(Path(out), scores)
        except OSError as error:
            raise UserError(f"--out: cannot write {out!r}: {error.strerror}") from error


def score(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    predicted = probabilities.argmax(1)
    return {
        "correct": int((predicted == labels).sum()),
        "n": len(labels),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, average="macro")),
        "negative_log_likelihood": metrics.negative_log_likelihood(probabilities, labels),
        "calibration_error": metrics.expected_calibration_error(probabilities, labels),
    }


def _predictions(names: list[str], console: Console) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(labels, member -> probabilities) of the test images that all members share."""
    found: dict[str, np.ndarray] = {}
    first = ""
    for name in names:
        folder = stored.stage_folder(Path(name), "--members")
        config = experiment.read_config(folder.parent, "--members")
        # Of the plan only the data: no stage is trained, and any number of devices will do.
        run = preparation.prepare(plan(config)._replace(stages=(), devices=0), folder.parent, console)
        test = f"{fingerprint(run.source)} {run.split['test'].tolist()}"
        if found and test != first:
            raise UserError(f"--members: {name!r} was tested on other images than {names[0]!r}")
        first = test
        apply, variables, _ = stored.load(folder, "--members")
        variables = parallel.replicate(variables, run.devices)
        found[name] = experiment.predict_rows(step.make_predict(apply, run.devices), variables, run.split["test"], run)
    return run.source.labels[run.split["test"]], found
