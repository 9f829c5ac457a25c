"""Learning-rate schedules by name. A config block such as {"name": "cosine", "final": 0.1} chooses one."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from efficient_jax.errors import UserError
from efficient_jax.settings import bind_named

COSINE = {"name": "cosine"}


def schedule(
    *, learning_rate: float, steps: int, warmup: int = 0, schedule: Mapping[str, Any] = COSINE
) -> optax.Schedule:
    """Returns the learning rate as a function of the step: a linear warm-up, then the chosen schedule.

    Args:
        learning_rate: the highest learning rate; with 1.0 the function returns multipliers.
        steps: steps of training, the warm-up included.
        warmup: steps over which the learning rate rises from 0 to the first value of the schedule, 0..steps-1.
        schedule: block with the `name` of a function in `SCHEDULES` and its settings.

    Returns: a function of the step 0..steps-1, with values in 0..learning_rate.

    Raises: UserError for an unknown name or setting, or a value outside its range.
    """
    if not 0 <= warmup < steps:
        raise UserError(f"warmup = {warmup} steps must be at least 0 and less than the {steps} training steps")
    name, settings = bind_named(SCHEDULES, schedule, "optim.schedule")
    after = SCHEDULES[name](learning_rate, steps, warmup, **settings)
    with jax.numpy_dtype_promotion("standard"):
        begin = float(after(0))
    joined = optax.join_schedules([optax.linear_schedule(0.0, begin, warmup), after], [warmup])

    def rate(step: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):  # optax mixes the step with float32
            return joined(step)

    return rate


def constant(peak: float, steps: int, warmup: int) -> optax.Schedule:
    """Returns a schedule that stays at the peak.

    Args:
        peak: learning rate after the warm-up.
        steps: steps of training, the warm-up included.
        warmup: steps of warm-up, which come before the first step of this schedule.

    Returns: a function of the step after the warm-up.
    """
    del steps, warmup
    return optax.constant_schedule(peak)


def step(peak: float, steps: int, warmup: int, *, boundaries: tuple[int, ...], factor: float = 0.1) -> optax.Schedule:
    """Returns a schedule that multiplies the learning rate by `factor` at each boundary.

    Args:
        peak: learning rate after the warm-up.
        steps: steps of training, the warm-up included.
        warmup: steps of warm-up, which come before the first step of this schedule.
        boundaries: rising steps, counted from the start of training (the warm-up included).
        factor: 0..1.

    Returns: a function of the step after the warm-up.

    Raises: UserError for a value outside its range, or boundaries that do not rise between `warmup` and `steps`.
    """
    _in_range(factor, "factor")
    if any(b <= a for a, b in itertools.pairwise((warmup, *boundaries, steps))):
        raise UserError(
            f"optim.schedule.boundaries: {boundaries} must rise, after the {warmup} steps of warm-up "
            f"and before step {steps}, the end"
        )
    return optax.piecewise_constant_schedule(peak, {boundary - warmup: factor for boundary in boundaries})


def exponential(peak: float, steps: int, warmup: int, *, period: int, factor: float = 0.97) -> optax.Schedule:
    """Returns a schedule that multiplies the learning rate by `factor` after every period (arXiv 1905.11946).

    Args:
        peak: learning rate after the warm-up.
        steps: steps of training, the warm-up included.
        warmup: steps of warm-up, which come before the first step of this schedule.
        period: steps, at least 1.
        factor: 0..1.

    Returns: a function of the step after the warm-up.

    Raises: UserError for a value outside its range.
    """
    del steps, warmup
    _in_range(factor, "factor")
    if period < 1:
        raise UserError(f"optim.schedule.period: {period} is not at least 1")
    return optax.exponential_decay(peak, period, factor, staircase=True)


def cosine(peak: float, steps: int, warmup: int, *, final: float = 0.0) -> optax.Schedule:
    """Returns half a cosine from the peak to `final` times the peak (arXiv 1608.03983).

    Args:
        peak: learning rate after the warm-up.
        steps: steps of training, the warm-up included.
        warmup: steps of warm-up, which come before the first step of this schedule.
        final: fraction of the peak, 0..1, that step `steps` would have, the first one after training.

    Returns: a function of the step after the warm-up.

    Raises: UserError for a value outside its range.
    """
    _in_range(final, "final")
    return optax.cosine_decay_schedule(peak, steps - warmup, final)


def quarter_cosine(peak: float, steps: int, warmup: int, *, share: float = 0.875) -> optax.Schedule:
    """Returns the first part of a quarter of a cosine, as in FixMatch (arXiv 2001.07685).

    Args:
        peak: learning rate after the warm-up.
        steps: steps of training, the warm-up included.
        warmup: steps of warm-up, which come before the first step of this schedule.
        share: the part, 0..1, of the quarter that training covers: 0.875 ends at 0.195 of the peak.

    Returns: a function of the step after the warm-up.

    Raises: UserError for a value outside its range.
    """
    _in_range(share, "share")
    return lambda step: peak * jnp.cos(0.5 * jnp.pi * share * step / (steps - warmup))


def cyclic(
    peak: float, steps: int, warmup: int, *, period: int, growth: float = 1.0, final: float = 0.0
) -> optax.Schedule:
    """Returns half cosines, as in `cosine`, one after the other (SGDR, arXiv 1608.03983).

    Args:
        peak: learning rate after the warm-up.
        steps: steps of training, the warm-up included.
        warmup: steps of warm-up, which come before the first step of this schedule.
        period: steps of the first half cosine, at least 1. The end of training cuts the last one off.
        growth: factor of the length from one to the next, at least 1.0.
        final: fraction of the peak, 0..1, at the end of each.

    Returns: a function of the step after the warm-up.

    Raises: UserError for a value outside its range.
    """
    _in_range(final, "final")
    if period < 1 or growth < 1.0:
        raise UserError(f"optim.schedule: period = {period} and growth = {growth} must be at least 1")
    starts, length = [0], float(period)
    while starts[-1] < steps - warmup:
        starts.append(starts[-1] + round(length))
        length *= growth
    once = optax.cosine_decay_schedule(peak, 1, final)

    def repeated(step: Any) -> jax.Array:  # optax.sgdr_schedule computes every cycle at every step
        bounds = jnp.array(starts)
        cycle = jnp.clip(jnp.searchsorted(bounds, step, side="right"), 1, len(starts) - 1)
        rate: jax.Array = once((step - bounds[cycle - 1]) / (bounds[cycle] - bounds[cycle - 1]))
        return rate

    return repeated


def one_cycle(
    peak: float, steps: int, warmup: int, *, rise: float = 0.3, start: float = 0.04, end: float = 4e-6
) -> optax.Schedule:
    """Returns half a cosine up to the peak, then one down (arXiv 1708.07120).

    As optax.cosine_onecycle_schedule; torch's OneCycleLR peaks and ends one step earlier. It needs no warm-up: one
    would come before it, and rise to `start` times the peak.

    Args:
        peak: learning rate after the warm-up.
        steps: steps of training, the warm-up included.
        warmup: steps of warm-up, which come before the first step of this schedule.
        rise: fraction of the steps after the warm-up, 0..1 (1 excluded), at which the peak is reached.
        start: fraction of the peak, 0..1 (0 excluded), at the first step.
        end: fraction of the peak, 0..1, at the end.

    Returns: a function of the step after the warm-up.

    Raises: UserError for a value outside its range.
    """
    _in_range(end, "end")
    if not 0.0 < start <= 1.0 or not 0.0 <= rise < 1.0:
        raise UserError(f"optim.schedule: want 0.0 < start <= 1.0 and 0.0 <= rise < 1.0, got {start} and {rise}")
    length = steps - warmup
    return optax.piecewise_interpolate_schedule(
        "cosine", start * peak, {int(rise * length): 1.0 / start, length: float(end)}
    )


def _in_range(fraction: float, name: str) -> None:
    if not 0.0 <= fraction <= 1.0:
        raise UserError(f"optim.schedule.{name}: {fraction} is not in 0.0 .. 1.0")


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "step": step,
    "exponential": exponential,
    "cosine": cosine,
    "quarter_cosine": quarter_cosine,
    "cyclic": cyclic,
    "one_cycle": one_cycle,
}
