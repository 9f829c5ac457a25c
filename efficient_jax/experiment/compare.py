"""Compares a stage with its teachers and its start on the same test images."""

from collections.abc import Sequence

import numpy as np

from efficient_jax import files
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.inference import predictions
from efficient_jax.metrics.agreement import Paired, sign_test


def with_earlier(
    config: StageConfig, run: Run, probabilities: np.ndarray, thresholds: Sequence[float] = ()
) -> list[Paired]:
    """Returns a paired comparison of a stage with each of its teachers and its start, of those in the same run.

    Args:
        config: config of the stage.
        run: its run.
        probabilities: predictions of the stage for the test images, float32 [n ... classes].
        thresholds: probability of each class from which on it is predicted, for tasks that have thresholds.

    Returns: a comparison for each earlier stage. Empty without test images, and for labels of pixels, of which an image
        has both right and wrong ones.
    """
    task, labels = run.data.task, run.data.source.labels[run.data.split["test"]]
    own = {stage.name for stage in run.plan.stages}
    names = [name for name in dict.fromkeys((*config.teachers, config.init)) if name in own]
    if not task.by_image or not len(labels):
        return []
    right = task.correct(task.answers(probabilities, thresholds), labels)
    rows: list[Paired] = []
    for name in names:
        folder = run.workdir / name
        earlier_thresholds = files.read_json(folder / "result.json").get("thresholds", ())
        with np.load(folder / predictions.FILES["test"]) as arrays:
            answers = task.answers(arrays["probabilities"], earlier_thresholds)
        earlier = task.correct(answers, labels)
        won, lost = int((right & ~earlier).sum()), int((earlier & ~right).sum())
        rows.append({"stage": name, "won": won, "lost": lost, "n": len(labels), "p": sign_test(won, lost)})
    return rows
