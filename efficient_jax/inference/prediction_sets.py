"""Prediction sets of trained stages, calibrated with the test images of their run.

Test images served neither training nor any choice of the run, so that they may calibrate; validation images may not,
since they chose the checkpoint.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from efficient_jax.errors import UserError
from efficient_jax.inference import matching, predictions
from efficient_jax.metrics import conformal
from efficient_jax.settings import choose
from efficient_jax.tasks import TASKS


def calibrated(
    folders: Sequence[Path | None], coverage: float, score: str, by_class: bool, where: str
) -> conformal.Calibration:
    """Calibrates the mean prediction of trained stages with the test images of their run.

    Args:
        folders: folder of each stage; None for packaged weights, which have no test images.
        coverage: probability with which a set contains the true class, in 0..1 (both excluded).
        score: a name in `conformal.SCORES`.
        by_class: see `conformal.calibrate`.
        where: what an error names.

    Raises: UserError for stages without test images, stages of different test images, images of several classes, and as
        `conformal.calibrate`.
    """
    choose(score, conformal.SCORES, f"{where}: score")
    if None in folders:
        raise UserError(f"{where}: packaged weights have no test images to calibrate with; train a stage first")
    names = [str(folder) for folder in folders]
    files = [predictions.read(Path(name) / predictions.FILES["test"], where) for name in names]
    tests = matching.matched(files, names, where)
    task = TASKS[tests[0].task]
    if not task.one_class:
        raise UserError(f"{where}: sets are for images of one class; here an image has {task.labels}")
    known = task.known(tests[0].labels)
    mean = np.mean([test.probabilities for test in tests], axis=0)[known]
    try:
        return conformal.calibrate(mean, tests[0].labels[known], coverage, score, by_class)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def names_of(inside: Bool[np.ndarray, "n classes"], classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns the names of the classes in each set.

    Args:
        inside: which classes are in the set of each image.
        classes: name of each class.
    """
    return [tuple(name for name, member in zip(classes, row, strict=True) if member) for row in inside]
