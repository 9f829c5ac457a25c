"""Learning-rate schedules by name. A config block such as {"name": "cosine", "final": 0.1} chooses one and sets it."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from efficient_jax.settings import bind_named
from efficient_jax.types import UserError

GIVEN = ("peak", "steps", "warmup")  # by `schedule`; the other arguments are keys of the block
COSINE = {"name": "cosine"}


def schedule(
    *, learning_rate: float, steps: int, warmup: int = 0, schedule: Mapping[str, Any] = COSINE
) -> optax.Schedule:
    """The learning rate as a function of the step, in 0 .. `learning_rate`, for steps 0 .. `steps` - 1.

    Linear over `warmup` steps, from 0 to where the schedule of `SCHEDULES` that the block chooses begins; `steps`
    counts the warm-up too. With `learning_rate` = 1.0 it gives multipliers.

    Raises: UserError for a setting out of its range, naming it.
    """
    if not 0 <= warmup < steps:
        raise UserError(f"warmup = {warmup} steps must be at least 0 and less than the {steps} training steps")
    name, settings = bind_named(SCHEDULES, schedule, "optim.schedule", GIVEN)
    after = SCHEDULES[name](learning_rate, steps, warmup, **settings)
    with jax.numpy_dtype_promotion("standard"):
        begin = float(after(0))
    joined = optax.join_schedules([optax.linear_schedule(0.0, begin, warmup), after], [warmup])

    def rate(step: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):  # optax mixes the step with float32
            return joined(step)

    return rate


def constant(peak: float, steps: int, warmup: int) -> optax.Schedule:
    del steps, warmup
    return optax.constant_schedule(peak)


def step(peak: float, steps: int, warmup: int, *, boundaries: tuple[int, ...], factor: float = 0.1) -> optax.Schedule:
    """Times `factor` from each of `boundaries` on, in steps from the start of training (warm-up included)."""
    _in_range(factor, "factor")
    if any(b <= a for a, b in itertools.pairwise((warmup, *boundaries, steps))):
        raise UserError(
            f"optim.schedule.boundaries: {boundaries} must rise, after the {warmup} steps of warm-up "
            f"and before step {steps}, the end"
        )
    return optax.piecewise_constant_schedule(peak, {boundary - warmup: factor for boundary in boundaries})


def exponential(peak: float, steps: int, warmup: int, *, period: int, factor: float = 0.97) -> optax.Schedule:
    """Times `factor` after every `period` steps behind the warm-up, as EfficientNet (arXiv 1905.11946)."""
    del steps, warmup
    _in_range(factor, "factor")
    if period < 1:
        raise UserError(f"optim.schedule.period: {period} is not at least 1")
    return optax.exponential_decay(peak, period, factor, staircase=True)


def cosine(peak: float, steps: int, warmup: int, *, final: float = 0.0) -> optax.Schedule:
    """Half a cosine from the peak to `final` times the peak, which step number `steps`, the first after training,
    would have (arXiv 1608.03983)."""
    _in_range(final, "final")
    return optax.cosine_decay_schedule(peak, steps - warmup, final)


def quarter_cosine(peak: float, steps: int, warmup: int, *, share: float = 0.875) -> optax.Schedule:
    """The first `share` of a quarter of a cosine: 0.875 ends at 0.195 of the peak, as FixMatch (arXiv 2001.07685)."""
    _in_range(share, "share")
    return lambda step: peak * jnp.cos(0.5 * jnp.pi * share * step / (steps - warmup))


def cyclic(
    peak: float, steps: int, warmup: int, *, period: int, growth: float = 1.0, final: float = 0.0
) -> optax.Schedule:
    """Half a cosine as in `cosine`, again and again (SGDR, arXiv 1608.03983): the first over `period` steps, each
    `growth` times as long as the one before. The end of training cuts the last one off."""
    _in_range(final, "final")
    if period < 1 or growth < 1.0:
        raise UserError(f"optim.schedule: period = {period} and growth = {growth} must be at least 1")
    starts, length = [0], float(period)
    while starts[-1] < steps - warmup:
        starts.append(starts[-1] + round(length))
        length *= growth
    once = optax.cosine_decay_schedule(peak, 1, final)

    def repeated(step: Any) -> jax.Array:  # optax.sgdr_schedule computes every cycle at every step
        at = jnp.array(starts)
        cycle = jnp.clip(jnp.searchsorted(at, step, side="right"), 1, len(starts) - 1)
        return once((step - at[cycle - 1]) / (at[cycle] - at[cycle - 1]))

    return repeated


def one_cycle(
    peak: float, steps: int, warmup: int, *, rise: float = 0.3, start: float = 0.04, end: float = 4e-6
) -> optax.Schedule:
    """Half a cosine from `start` times the peak up to the peak, which is reached after the fraction `rise` of the
    steps, then one down to `end` times the peak (arXiv 1708.07120, as optax.cosine_onecycle_schedule; torch's
    OneCycleLR peaks and ends one step earlier). It needs no warm-up: one comes before it, up to `start`."""
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
