"""Checks of what a config says of a method."""

from efficient_jax.errors import UserError


def not_negative(value: float, name: str) -> None:
    if value < 0.0:
        raise UserError(f"method.{name}: {value} is negative")


def share(value: float, name: str) -> None:
    if not 0.0 < value <= 1.0:
        raise UserError(f"method.{name}: {value} is not in 0.0 .. 1.0 (0.0 excluded)")
