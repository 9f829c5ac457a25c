"""Checks of the settings of a method."""

import dataclasses
import functools
import inspect

from efficient_jax.errors import UserError
from efficient_jax.tasks import Task


def not_negative(value: float, name: str) -> None:
    """Checks that a setting is 0.0 or more.

    Args:
        value: of the setting.
        name: key of the setting in the block `method`.

    Raises: UserError for a negative value.
    """
    if value < 0.0:
        raise UserError(f"method.{name}: {value} is negative")


def weights(soft_weight: float, hard_weight: float) -> None:
    """Checks the weights of teachers and labels.

    Args:
        soft_weight: `method.soft_weight`.
        hard_weight: `method.hard_weight`.

    Raises: UserError for a negative one, and for two of 0.0.
    """
    if min(soft_weight, hard_weight) < 0.0 or soft_weight + hard_weight == 0.0:
        raise UserError(f"method: soft_weight {soft_weight} and hard_weight {hard_weight} are negative, or both 0.0")


def class_balance(value: float, adjustment: float, task: Task) -> None:
    """Checks settings that correct for rare classes: at most one of them, and for a task that can have it.

    Args:
        value: `method.class_balance`; 0.0 does not correct.
        adjustment: `method.logit_adjustment`; 0.0 does not correct.
        task: what the labels are.

    Raises: UserError for both settings together, for a negative `adjustment` or one where images have several classes,
        and for a task whose loss has no weights of classes.
    """
    not_negative(adjustment, "logit_adjustment")
    if value and adjustment:
        raise UserError("method: class_balance and logit_adjustment both correct for rare classes; take one")
    if value and not _weighs(task):
        raise UserError(
            f"method.class_balance: {value} is for one class per image or pixel; here it has {task.labels}; set it to "
            "0.0, and batch.balanced=True to repeat images of rare classes"
        )
    if adjustment:
        _one_class(adjustment, "logit_adjustment", task)


def gce(q: float, other: float, task: Task) -> None:
    """Checks the setting `gce`.

    Args:
        q: `method.gce`; 0.0 is the loss of the task.
        other: a correction of that loss, 0.0 where there is none.
        task: what the labels are.

    Raises: UserError for a value outside 0..1, for another correction beside it, and for several labels per image.
    """
    if not 0.0 <= q <= 1.0:
        raise UserError(f"method.gce: {q} is not in 0.0 .. 1.0")
    if q and other:
        raise UserError("method.gce: has no label_smoothing, class_balance or logit_adjustment; set them to 0.0")
    if q:
        _one_class(q, "gce", task)


def _weighs(task: Task) -> bool:
    return "weights" in inspect.signature(task.loss).parameters


def _one_class(value: float, name: str, task: Task) -> None:
    if not task.one_class:
        instead = ", or take class_balance" if name == "logit_adjustment" and _weighs(task) else ""
        raise UserError(
            f"method.{name}: {value} is for one class per image; here it has {task.labels}; set it to 0.0{instead}"
        )


def with_dice(task: Task, weight: float) -> Task:
    """Returns the task with the Dice loss added to its loss.

    Args:
        task: what the labels are.
        weight: `method.dice_weight`, the factor of the Dice loss; 0.0: the task as it is.

    Raises: UserError for a negative weight, and for a task without a class for each pixel.
    """
    not_negative(weight, "dice_weight")
    if not weight:
        return task
    if "dice_weight" not in inspect.signature(task.loss).parameters:
        raise UserError(f"method.dice_weight: {weight} is for masks; here an image has {task.labels}; set it to 0.0")
    return dataclasses.replace(task, loss=functools.partial(task.loss, dice_weight=weight))


def energy(share: float) -> None:
    """Checks the setting `energy`.

    Args:
        share: `method.energy`; 0.0 keeps no image out.

    Raises: UserError for a value outside 0..1.
    """
    if not 0.0 <= share <= 1.0:
        raise UserError(f"method.energy: {share} is not in 0.0 .. 1.0; it is a share of the labelled images")


def share(value: float, name: str) -> None:
    """Checks that a setting is in 0..1 (0 excluded).

    Args:
        value: of the setting.
        name: key of the setting in the block `method`.

    Raises: UserError for a value outside.
    """
    if not 0.0 < value <= 1.0:
        raise UserError(f"method.{name}: {value} is not in 0.0 .. 1.0 (0.0 excluded)")


def below_one(value: float, name: str) -> None:
    """Checks that a setting is in 0..1 (1 excluded).

    Args:
        value: of the setting.
        name: key of the setting in the block `method`.

    Raises: UserError for a value outside.
    """
    if not 0.0 <= value < 1.0:
        raise UserError(f"method.{name}: {value} is not in 0.0 .. 1.0 (1.0 excluded)")
