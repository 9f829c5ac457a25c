"""What a run shows first: its best and its last stage, and each stage beside the one that it was made from."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from efficient_jax.metrics.agreement import change
from efficient_jax.report import tables
from efficient_jax.report.results import read_arrays, read_config

CLEAR = 0.05
"""p-value up to which a difference is called clear."""
COMPARISON_HEADERS = ["stage", "change, points", "in words", "images won", "images lost", "p"]


def headline(finished: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Returns the best and the last stage, once if they are the same.

    Args:
        finished: result.json of every finished stage, in running order.

    Returns:
        For each "what" ("best stage" or "last stage"), "stage", "accuracy" in percent and its "interval".
    """
    if not finished:
        return []
    best, last = max(finished, key=_fraction), finished[-1]
    chosen = {"best stage": best, "last stage": last} if best is not last else {"best and last stage": last}
    if len(finished) == 1:
        chosen = {"stage": last}
    cells = {what: tables.accuracy(result["test"]).partition(" ") for what, result in chosen.items()}
    return [
        {"what": what, "stage": chosen[what]["stage"], "accuracy": number, "interval": interval}
        for what, (number, _, interval) in cells.items()
    ]


def comparison_rows(workdir: pathlib.Path, results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Returns the cells under `COMPARISON_HEADERS`: every stage beside its teachers and the stage that it starts from.

    Both predicted the same test images, so McNemar's exact test of the images on which only one is right compares them.

    Args:
        workdir: folder of the run.
        results: its results, as `results.read_results` returns them.
    """
    right = {result["stage"]: images_right(workdir, result) for result in results}
    config = read_config(workdir)
    rows = []
    for stage, own in right.items():
        for role, other in _origins(config.get(stage, {})):
            before = right.get(other)
            if own is None or before is None or own.shape != before.shape:
                continue
            won, lost, p = change(before.astype(int), own.astype(int), np.ones(len(own), int))
            gains, losses = int(won.sum()), int(lost.sum())
            points = 100 * (gains - losses) / max(len(own), 1)
            said = ("better than" if points > 0 else "worse than") if p <= CLEAR else "not told apart from"
            rows.append(
                [stage, f"{points:+.2f}", f"{said} {other}, its {role}", f"{gains:,}", f"{losses:,}", p_value(p)]
            )
    return rows


def images_right(workdir: pathlib.Path, result: Mapping[str, Any]) -> Bool[np.ndarray, " n"] | None:
    """Returns which test images a stage predicts correctly as a whole, in the order of their indices.

    Args:
        workdir: folder of the run.
        result: result.json of the stage.

    Returns:
        None if the stage is not finished, or labels are of pixels.
    """
    arrays = read_arrays(workdir / result["stage"] / "predictions.npz") if "test" in result else {}
    if not arrays or arrays["label"].ndim > 2:
        return None
    labels, probabilities = arrays["label"], arrays["probabilities"]
    if labels.ndim == 1:
        right = probabilities.argmax(1) == labels
    else:
        right = ((probabilities >= (result.get("thresholds") or 0.5)) == labels).all(1)
    in_order: np.ndarray = right[np.argsort(arrays["id"], kind="stable")]
    return in_order


def accuracy_first(cells: Sequence[str], headers: Sequence[str]) -> list[str]:
    """Returns the cells of a row with the accuracy and what follows it right after the name: a phone shows these.

    Args:
        cells: one per header.
        headers: the first that names a 95% interval is that of the accuracy; without one nothing moves.
    """
    at = next((i for i, header in enumerate(headers) if "95% interval" in header), 1)
    return [cells[0], *cells[at:], *cells[1:at]]


def p_value(p: float) -> str:
    """Returns a p-value with three decimals; "<0.001" below.

    Args:
        p: 0..1.
    """
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _fraction(result: Mapping[str, Any]) -> float:
    return float(result["test"]["correct"] / max(result["test"]["n"], 1))


def _origins(stage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns ("teacher" or "start", name of a stage or of weights) of a stage's block in the config."""
    teachers = [stage["teacher"]] if stage.get("teacher") else stage.get("teachers") or ()
    return [*(("teacher", name) for name in teachers), *((("start", stage["init"]),) if stage.get("init") else ())]
