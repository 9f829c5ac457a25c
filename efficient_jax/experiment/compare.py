"""Compares a stage with its teachers and its start on the same test images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from efficient_jax import files
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.inference import predictions
from efficient_jax.metrics.agreement import sign_test


def with_earlier(
    config: StageConfig, run: Run, probabilities: np.ndarray, thresholds: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """Returns a paired comparison of a stage with each of its teachers and its start, of those in the same run.

    Args:
        config: config of the stage.
        run: its run.
        probabilities: predictions of the stage for the test images, float32 [n ... classes].
        thresholds: probability of each class from which on it is predicted, for tasks that have thresholds.

    Returns: for each earlier stage "stage", its name; "won" and "lost", on how many images only this stage, or only the
        earlier one, is right (where images have scores: on how many its score is higher, or lower); "n", the number
        of images; "p", see `agreement.sign_test`; and "difference", the mean over images of the score of the stage
        minus that of the earlier one (where they have none: in the share of right images).
    """
    task, labels = run.data.task, run.data.source.labels[run.data.split["test"]]
    own = {stage.name for stage in run.plan.stages}
    names = [name for name in dict.fromkeys((*config.teachers, config.init)) if name in own]
    classes = len(run.data.source.classes)
    scores = task.scored(task.answers(probabilities, thresholds), labels, classes)
    rows = []
    for name in names:
        folder = run.workdir / name
        earlier_thresholds = files.read_json(folder / "result.json").get("thresholds", ())
        with np.load(folder / predictions.FILES["test"]) as arrays:
            answers = task.answers(arrays["probabilities"], earlier_thresholds)
        answers = task.resized(answers, labels.shape[-1])  # of maps: stages may see images of different sizes
        change = scores - task.scored(answers, labels, classes)
        won, lost = int((change > 0).sum()), int((change < 0).sum())
        counts = {"won": won, "lost": lost, "n": len(labels), "p": sign_test(won, lost)}
        rows.append({"stage": name, **counts, "difference": float(np.nanmean(change))})
    return rows
