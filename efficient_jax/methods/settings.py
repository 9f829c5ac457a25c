"""Checks of what a config says of a method."""

import inspect

from efficient_jax.errors import UserError
from efficient_jax.tasks import Task


def not_negative(value: float, name: str) -> None:
    if value < 0.0:
        raise UserError(f"method.{name}: {value} is negative")


def class_balance(value: float, task: Task) -> None:
    """Checks that the loss of the task can weigh classes, where that is asked.

    Args:
        value: `method.class_balance`; 0.0 does not ask.
        task: what the labels are.

    Raises: UserError where it cannot.
    """
    if value and "weights" not in inspect.signature(task.loss).parameters:
        raise UserError(f"method.class_balance: {value} weighs classes, but an image has {task.labels}; say 0.0")


def share(value: float, name: str) -> None:
    if not 0.0 < value <= 1.0:
        raise UserError(f"method.{name}: {value} is not in 0.0 .. 1.0 (0.0 excluded)")
