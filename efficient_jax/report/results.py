"""Reading a run folder: what `train` left on disk, in the order in which it ran.

A run may be half finished, so every file but `config.json` may be missing.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, Required, TypedDict, cast

import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.files import Json
from efficient_jax.metrics.agreement import Paired
from efficient_jax.settings import Settings


class StageResult(TypedDict, total=False):
    """What is read of the result.json of a stage; one that is not finished has its name alone."""

    stage: Required[str]
    parameters: int
    labels: int  # labelled images that it learned from
    steps: int
    step: int | None  # of the checkpoint that was evaluated
    images_seen: int
    seconds: float
    pseudo_labels: dict[str, int] | None  # "kept", "known", "right" and "classes_without"
    test: Mapping[str, Any]  # the figures of the task, with "correct" and "n"
    validation: Mapping[str, Any] | None
    thresholds: list[float]
    negative_log_likelihood: float
    calibration_error: float
    compared: list[Paired]  # with its teachers and its start


def read_json(path: pathlib.Path) -> Json:
    """Returns the object in a JSON file.

    Args:
        path: the file.

    Returns:
        The object; {} if there is no such file.
    """
    content: Json = json.loads(path.read_text()) if path.exists() else {}
    return content


def read_config(workdir: pathlib.Path) -> Settings:
    """Returns the config of a run.

    Args:
        workdir: the folder of the run.

    Returns:
        The content of its config.json.

    Raises:
        UserError: there is no config.json with stages.
    """
    config = read_json(workdir / "config.json")
    if not config.get("stages"):
        raise UserError(f"no config.json with stages in {workdir}: give the --workdir of a `train` run")
    return config


def read_results(workdir: str | pathlib.Path) -> list[StageResult]:
    """Returns the results of all stages in running order.

    Args:
        workdir: the folder of a run.

    Returns:
        The result.json of each stage, with its name as "stage"; only "stage" for a stage that is not finished.

    Raises:
        UserError: there is no config.json with stages.
    """
    workdir = pathlib.Path(workdir)
    stages = read_config(workdir)["stages"]
    return [cast(StageResult, read_json(workdir / stage / "result.json") | {"stage": stage}) for stage in stages]


def read_metrics(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the columns of a `metrics.jsonl`, sorted by step.

    Args:
        path: the file.

    Returns:
        metric -> float64, one value per logged step, NaN where it lacks the metric; {} if there is no such file.
    """
    if not path.exists():
        return {}
    lines: dict[int, dict[str, float]] = {}
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # the run was killed while writing it
            continue
        # Training and validation are logged apart; of what is logged twice the last counts.
        lines.setdefault(line["step"], {}).update(line)
    names = {name for line in lines.values() for name in line}
    rows = [lines[step] for step in sorted(lines)]
    return {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names}


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an `.npz` file.

    Args:
        path: the file.

    Returns:
        name -> array; {} if there is no such file.
    """
    if not path.exists():
        return {}
    with np.load(path) as arrays:
        return dict(arrays)
