"""Accuracy of a member on rotated test images."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Console

from efficient_jax.augment.kernels import matrices, resample
from efficient_jax.data.dataset import Source
from efficient_jax.evaluation.members import WHERE, answered_rightly, at_model_size, by_model, run_of_stage
from efficient_jax.training import batches
from efficient_jax.training.trained import Trained

BATCH = 256  # images that are rotated together


def rotated(name: str, degrees: Sequence[float], console: Console, views: str = "none") -> list[dict[str, Any]]:
    """Counts right predictions on rotated test images. Pixels from outside the image are black.

    Args:
        name: of a trained stage, as for `Trained.open`.
        degrees: angles; for each the images are rotated clockwise and counter-clockwise.
        console: shows how the images of the run have changed since.
        views: test-time augmentation, as for `tta.parse_views`.

    Returns: for 0 and every angle "degrees", "correct", the mean number of right predictions of both directions, and
        "n", the number of images.

    Raises: UserError for a name without a trained stage, and as `members.by_model`.
    """
    trained = Trained.open(name, WHERE)
    run = run_of_stage(trained, console)
    seen, ids = at_model_size(run, trained.spec), run.split["test"]
    none = np.arange(0)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def turn(image: jax.Array, angle: float) -> jax.Array:
        return resample.warp(image, matrices.rotation(angle)[:2])

    def right(angle: float) -> int:
        parts = [seen.source.images[ids[i : i + BATCH]] for i in range(0, len(ids), BATCH)]
        images = np.concatenate([np.asarray(turn(part, angle)) for part in parts])
        source = Source(images, seen.source.labels[ids], seen.source.classes, task=seen.source.task)
        split = {"test": np.arange(len(ids)), "validation": none}
        rotated = seen._replace(source=source, split=split, images=batches.place(images, run.devices))
        return int(answered_rightly(by_model(trained, rotated, views)).sum())

    directions = {angle: (angle, -angle) if angle else (0.0,) for angle in (0.0, *degrees)}
    return [  # the mean: both directions have the same images
        {"degrees": angle, "correct": sum(map(right, both)) / len(both), "n": len(ids)}
        for angle, both in directions.items()
    ]
