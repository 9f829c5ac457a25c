"""Settings of random amounts: a number is the largest change either way, a pair (lowest, highest) a range."""

import math

from efficient_jax.errors import UserError

Range = float | tuple[float, float]


def changes(amount: Range, name: str) -> tuple[float, float]:
    """Returns (lowest, highest) of an amount that is added.

    Args:
        amount: the largest change either way, 0 or more, or a range (lowest, highest); (0.0, 10.0) is one-sided.
        name: the operation and its argument, for the error message.

    Returns: (-amount, amount), or the range itself.

    Raises: UserError for a negative amount, or for a pair that is not in order.
    """
    if isinstance(amount, tuple):
        return _ordered(amount, name)
    if amount < 0:
        raise UserError(
            f"{name} {amount} is negative; amounts are the largest change either way: 0.0 or more, "
            "or a range (lowest, highest)"
        )
    return -amount, amount


def factors(strength: Range, name: str) -> tuple[float, float]:
    """Returns (lowest, highest) of a factor.

    Args:
        strength: the largest distance of the factor from 1, 0 or more, or a range (lowest, highest) of factors from 0.
        name: the operation and its argument, for the error message.

    Returns: (max(0, 1 - strength), 1 + strength), or the range itself.

    Raises: UserError for a negative strength, or for a pair that is not in order from 0 on.
    """
    if isinstance(strength, tuple):
        return _ordered(strength, name, least=0.0)
    if strength < 0:
        raise UserError(f"{name} {strength} is negative; 0.4 draws factors from 0.6 to 1.4")
    return max(0.0, 1 - strength), 1 + strength


def logarithms(amount: Range, name: str) -> tuple[float, float]:
    """Returns (lowest, highest) of the natural logarithm of a factor.

    Args:
        amount: draws factors in 1 / (1 + amount)..1 + amount, 0 or more; or a range (lowest, highest) from 0.001 on.
        name: the operation and its argument, for the error message.

    Returns: the logarithms of the lowest and the highest factor.

    Raises: UserError for a negative amount, or for a pair that is not in order from 0.001 on.
    """
    if isinstance(amount, tuple):
        low, high = _ordered(amount, name, least=1e-3)
        return math.log(low), math.log(high)
    if amount < 0:
        raise UserError(f"{name} {amount} is negative; 1.0 draws factors from 1/2 to 2: 0.0 or more")
    return -math.log1p(amount), math.log1p(amount)


def _ordered(pair: tuple[float, float], name: str, least: float = -math.inf) -> tuple[float, float]:
    numbers = len(pair) == 2 and all(isinstance(bound, int | float) and math.isfinite(bound) for bound in pair)
    if not numbers or not least <= pair[0] <= pair[1]:
        above = "" if least == -math.inf else f" from {least} on"
        raise UserError(f"{name} {pair} is not a range (lowest, highest) of two numbers in order{above}")
    return float(pair[0]), float(pair[1])
