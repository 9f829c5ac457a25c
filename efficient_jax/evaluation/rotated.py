"""Accuracy of a member on rotated test images."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from efficient_jax.augment.kernels import matrices, resample
from efficient_jax.evaluation.members import WHERE, Open, data_of, predictor
from efficient_jax.training import batches
from efficient_jax.training.trained import Trained

BATCH = 256  # images that are rotated together


class Rotated(NamedTuple):
    """Right predictions on rotated images."""

    degrees: float
    correct: float  # the mean of both directions, which have the same images
    n: int


def rotated(name: str, degrees: Sequence[float], open_run: Open, views: str = "none") -> list[Rotated]:
    """Counts right predictions on rotated test images. Pixels from outside the image are black.

    Args:
        name: of a trained stage, as for `Trained.open`.
        degrees: angles; for each the images are rotated clockwise and counter-clockwise.
        open_run: as from `members.run_opener`.
        views: test-time augmentation, as for `tta.parse_views`.

    Returns: the counts for 0 and for every angle.

    Raises: UserError for a name without a trained stage, and as `members.data_of` and `members.predictor`.
    """
    trained = Trained.open(name, WHERE)
    data = data_of(trained, open_run)
    ids, images = data.split["test"], data.for_model(trained.spec).source.images
    labels, predict = data.source.labels[ids], predictor(trained.spec, data.devices, views)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def turn(image: jax.Array, angle: float) -> jax.Array:
        return resample.warp(image, matrices.rotation(angle)[:2])

    def correct(angle: float) -> int:
        parts = (images[ids[i : i + BATCH]] for i in range(0, len(ids), BATCH))
        turned = np.concatenate([np.asarray(turn(part, angle)) for part in parts])
        placed = batches.place(turned, data.devices)
        probabilities = predict(trained.variables, placed, np.arange(len(ids)))
        answers = data.task.answers(probabilities, trained.spec.thresholds)
        return int(data.task.correct(answers, labels).sum())

    directions = {angle: (angle, -angle) if angle else (0.0,) for angle in (0.0, *degrees)}
    return [Rotated(angle, sum(map(correct, both)) / len(both), len(ids)) for angle, both in directions.items()]
