"""Augmentation on the device: pure functions `(key, example) -> example`, and mixes of a whole batch."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from efficient_jax import binding
from efficient_jax.augment.color import brightness, contrast
from efficient_jax.augment.compose import per_example, pipeline
from efficient_jax.augment.erase import cutout
from efficient_jax.augment.geometry import affine, flip
from efficient_jax.augment.kernels import to_float
from efficient_jax.augment.mix import cutmix, mixup
from efficient_jax.augment.policy import randaugment
from efficient_jax.types import Augment, Batch, Example

OPS: dict[str, Callable[..., Example]] = {
    "affine": affine,
    "brightness": brightness,
    "contrast": contrast,
    "cutout": cutout,
    "flip": flip,
    "randaugment": randaugment,
}
MIXES: dict[str, Callable[..., Batch]] = {"cutmix": cutmix, "mixup": mixup}


def build(ops: tuple[str, ...], settings: Mapping[str, Mapping[str, Any]]) -> Augment:
    """The pipeline of a config: `ops` in order, `settings` holding the keyword arguments of those that take any.

    Raises: UserError for a name that is neither in OPS nor in MIXES.
    """
    stages = []
    for name in ops:
        function = partial(binding.choose(name, OPS | MIXES, "augment.ops"), **settings.get(name, {}))
        stages.append(function if name in MIXES else per_example(function))
    return pipeline(tuple(stages))


__all__ = ["MIXES", "OPS", "build", "per_example", "pipeline", "to_float", *OPS, *MIXES]
