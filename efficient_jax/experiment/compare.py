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

    Returns: a comparison for each earlier stage. Where images have scores "won" and "lost" count those whose score is
        higher, or lower. Empty without test images.
    """
    task, labels = run.data.task, run.data.source.labels[run.data.split["test"]]
    own = {stage.name for stage in run.plan.stages}
    names = [name for name in dict.fromkeys((*config.teachers, config.init)) if name in own]
    if not len(labels):
        return []
    classes = len(run.data.source.classes)
    scores = task.scored(task.answers(probabilities, thresholds), labels, classes)
    rows: list[Paired] = []
    for name in names:
        folder = run.workdir / name
        earlier_thresholds = files.read_json(folder / "result.json").get("thresholds", ())
        probabilities = predictions.stored_probabilities(folder / predictions.FILES["test"])
        answers = task.answers(probabilities, earlier_thresholds)
        before, now = (run.image_shape(stage) for stage in (run.plan.by_name[name], config))
        answers = task.resized(answers, before[:2], now[0])  # stages may see images of different sizes
        change = scores - task.scored(answers, labels, classes)
        won, lost = int((change > 0).sum()), int((change < 0).sum())
        p, difference = sign_test(won, lost), float(np.nanmean(change))
        rows.append({"stage": name, "won": won, "lost": lost, "n": len(labels), "p": p, "difference": difference})
    return rows
