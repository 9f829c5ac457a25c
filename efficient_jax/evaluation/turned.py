"""How a member answers when the test images are turned."""

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

BATCH = 256  # images that are turned together


def turned(name: str, degrees: Sequence[float], console: Console, views: str = "none") -> list[dict[str, Any]]:
    """How many test images the model of `name` answers rightly, through `views`, when they are turned by 0 and by
    `degrees`, the mean of both ways; what is turned in from outside is black."""
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
        there = seen._replace(source=source, split=split, images=batches.place(images, run.devices))
        return int(answered_rightly(by_model(trained, there, views)).sum())

    ways = {angle: (angle, -angle) if angle else (0.0,) for angle in (0.0, *degrees)}
    return [  # the two ways are of the same images: no more of them than there are
        {"degrees": angle, "correct": sum(map(right, both)) / len(both), "n": len(ids)} for angle, both in ways.items()
    ]
