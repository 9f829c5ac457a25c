"""How many steps a stage takes, and its other settings that depend on the data."""

from typing import NamedTuple

from efficient_jax.errors import UserError
from efficient_jax.experiment.checks import in_steps
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.optim import optimizer
from efficient_jax.settings import Settings, bind
from efficient_jax.tasks import Task


class Resolved(NamedTuple):
    """Settings of a stage that depend on the data: durations, by the number of images, and those of the task."""

    steps: int  # 0 for methods that fit
    optim: Settings  # keyword arguments of `optimizer.optimizer` but `steps` and `layers`
    pseudo_labels: Settings  # keyword arguments of the task's `pseudo_labels`


def resolved(stage: StageConfig, images: int, task: Task) -> Resolved:
    """Returns a stage's durations in steps, and all settings of its pseudo-labels.

    Args:
        stage: its config.
        images: number of images in its first stream: the labelled ones, or the others where it learns from no labels.
        task: what the labels are.

    Raises: UserError for two durations where there should be one, or that do not fit into each other, and for
        pseudo-labels that the task does not make.
    """
    if not stage.batch:
        return Resolved(0, {}, {})
    pseudo_labels = _pseudo_labels(stage, task) if stage.method.pseudo_labels else {}
    where, batch = f"config.{stage.name}", next(iter(stage.batch.values()))
    unit, amount = stage.length
    steps = max(1, round(amount * {"steps": 1.0, "epochs": images / batch, "examples": 1.0 / batch}[unit]))
    optim = in_steps(stage.optim, batch, images, steps, f"{where}.optim")
    bound = bind(optimizer.optimizer, optim, f"{where}.optim")
    if not 0 <= bound["warmup"] < steps:
        raise UserError(
            f"{where}.optim.warmup: {bound['warmup']} is not in 0 .. {steps - 1}, the steps of the stage; "
            "warmup_percent is a share of them"
        )
    return Resolved(steps, bound, pseudo_labels)


def _pseudo_labels(stage: StageConfig, task: Task) -> Settings:
    if task.pseudo_labels is None:
        raise UserError(f"config.{stage.name}.method: there are no pseudo-labels where an image has {task.labels}")
    if stage.vote == "hard" and not task.exclusive:
        raise UserError(f"config.{stage.name}.vote: hard counts one answer per teacher; an image has {task.labels}")
    return bind(task.pseudo_labels, stage.pseudo_labels, f"config.{stage.name}.pseudo_labels")
