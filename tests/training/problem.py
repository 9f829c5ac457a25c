"""A small problem that the training tests share: 64 random images, a narrow network, supervised learning."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from efficient_jax import models
from efficient_jax.methods.supervised import supervised
from efficient_jax.optim import optimizer
from efficient_jax.tasks import CLASSIFICATION
from efficient_jax.training import parallel, state, step
from efficient_jax.training.labels import soft
from efficient_jax.types import Augment, Batch, Tree

BATCH, STEPS, CLASSES = 16, 20, 4
SHAPE = (8, 8, 1)


class Problem(NamedTuple):
    """A train step on some devices, and its first state."""

    update: Callable[[Tree, int], tuple[Tree, dict]]
    state: Tree
    devices: list
    step: Any
    arguments: Callable[[Tree, int], tuple]  # of `step` in an update, on the devices


def unchanged(keys: jax.Array, batch: Batch) -> Batch:
    del keys
    return batch


def make(
    count: int,
    augment: Augment = unchanged,
    dropout: float = 0.3,
    learning_rate: float = 1e-3,
    network: str = "cnn",
    accumulate: int = 1,
    sam: float = 0.0,
    shard_state: bool = False,
) -> Problem:
    """The same problem on `count` devices, whatever their number."""
    devices = jax.local_devices()[:count]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, *SHAPE), np.uint8)
    labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, 64)]
    module = models.MODELS[network](classes=CLASSES, width=4, dropout=dropout, norm_axis=parallel.AXIS)
    variables = models.init(module, jax.random.key(0), SHAPE)
    tx, _ = optimizer.optimizer(
        variables["params"],
        steps=STEPS,
        learning_rate=learning_rate,
        warmup=0,
        weight_decay=1e-2,
        clip=1.0,
        rules=((".*", 1.0),),
    )
    loss_fn = supervised(models.make_apply(module, (0.5,), (0.25,)), augment, CLASSIFICATION)
    compiled = step.make_train_step(
        loss_fn,
        tx,
        steps=STEPS,
        ema_decay=0.9,
        devices=devices,
        accumulate=accumulate,
        sam=sam,
        shard_state=shard_state,
    )
    placed = ({"image": images, "label": soft(labels)}, labels.sum(0), jax.random.key(1))
    data, counts, key = parallel.replicate(placed, devices)

    def arguments(current: Tree, i: int) -> tuple:
        rows = np.random.default_rng(i).integers(0, 64, BATCH)
        return current, (), counts, data, key, {"labelled": {"index": parallel.shared(rows[None], devices)}}

    def update(current: Tree, i: int) -> tuple[Tree, dict]:
        return compiled(*arguments(current, i))

    def first_state(variables: Tree) -> Tree:
        return state.create(variables, tx)

    place = parallel.spread if shard_state else parallel.copied
    return Problem(update, place(first_state, (variables,), devices), devices, compiled, arguments)


def losses(problem: Problem, steps: int = STEPS) -> tuple[list[float], Tree]:
    """The loss of each update, and the last state."""
    current, found = problem.state, []
    for i in range(steps):
        current, metrics = problem.update(current, i)
        total, weight = metrics["loss"]
        found.append(total.item() / weight.item())
    return found, current
