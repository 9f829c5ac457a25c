"""Checks of the settings of a method."""

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


def class_balance(value: float, task: Task) -> None:
    """Checks that the loss of the task has class weights where a method needs them.

    Args:
        value: `method.class_balance`; 0.0 needs none.
        task: what the labels are.

    Raises: UserError for a task whose loss has none.
    """
    if value and "weights" not in inspect.signature(task.loss).parameters:
        raise UserError(f"method.class_balance: {value} weighs classes, but an image has {task.labels}; set it to 0.0")


def share(value: float, name: str) -> None:
    """Checks that a setting is in 0..1 (0 excluded).

    Args:
        value: of the setting.
        name: key of the setting in the block `method`.

    Raises: UserError for a value outside.
    """
    if not 0.0 < value <= 1.0:
        raise UserError(f"method.{name}: {value} is not in 0.0 .. 1.0 (0.0 excluded)")
