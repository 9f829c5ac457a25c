"""Augmentations one after the other, and the pipeline that a config's block describes."""

import inspect
import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray

from efficient_jax import binding
from efficient_jax.augment import geometry, kernels
from efficient_jax.augment.catalogue import CHOICES, MIXES, OPS
from efficient_jax.augment.choose import with_probability
from efficient_jax.augment.class_dependent import by_class, from_block
from efficient_jax.types import Augment, Augmentation, Batch, Example, Saliency, UserError

Blocks = Mapping[str, Any]
KNOWN: dict[str, Callable] = {**OPS, **MIXES, **CHOICES}
GIVEN = ("key", "keys", "example", "batch", "saliency", "augmentations")


def per_example(augmentation: Augmentation) -> Augment:
    """An augmentation of one example as one of a batch."""

    def checked(key: PRNGKeyArray, example: Example) -> Example:
        kernels.require_image(example)
        return augmentation(key, example)

    return jax.vmap(checked)


def pipeline(augmentations: tuple[Augment, ...]) -> Augment:
    """Augmentations of batches, in order. Each draws from keys of its own, `fold_in(key, position)`."""

    def apply(keys: Key[Array, "b"], batch: Batch, saliency: Saliency | None = None) -> Batch:
        for position, augmentation in enumerate(augmentations):
            own = jax.vmap(lambda key, position=position: jax.random.fold_in(key, position))(keys)
            batch = augmented(augmentation, own, batch, saliency)
        return batch

    return apply


def augmented(augment: Augment, keys: Key[Array, "b"], batch: Batch, saliency: Saliency | None) -> Batch:
    """Returns `augment(keys, batch)`, and gives `saliency` to an augmentation whose signature asks for it.

    Args:
        augment: an augmentation of a batch, such as a pipeline.
        keys: one key for each example.
        batch: the examples.
        saliency: computes float [b h w] of the images as they are when the operation that asks comes; it runs for no
            other. None where there is no network.

    Raises: UserError from an operation that needs the saliency and is given None.
    """
    asks = "saliency" in inspect.signature(augment).parameters
    return augment(keys, batch, saliency) if asks else augment(keys, batch)


def build(ops: tuple[str, ...], blocks: Blocks, where: str = "augment") -> Augment:
    """The pipeline of a config: `ops` in order, `blocks` holding the settings of those that take any.

    A name stands for the operation of that name, or for the one that its block gives as `op`. Every operation takes
    a `probability`; one_of and some_of take `ops`, names again, and by_class `of`, a name, with tuples of settings for
    the classes. Matrices next to each other are multiplied, and the picture is resampled once.

    Raises: UserError for names and settings that do not exist, naming their place `where`.
    """
    steps = [_step(name, blocks, where) for name in ops]
    for name in blocks:  # those that are not used today are checked too
        if name not in ("ops", *ops):
            _step(name, blocks, where)
    stages: list[Augment] = []
    for fill, group in itertools.groupby(steps, _chained):
        several = list(group)
        if fill is not None and len(several) > 1:
            draws = tuple(partial(geometry.MATRICES[step.op], **_without_fill(step.settings)) for step in several)
            stages.append(per_example(partial(geometry.chain, draws=draws, fill=fill)))
        else:
            stages.extend(step.augment for step in several)
    return pipeline(tuple(stages))


class _Step(NamedTuple):
    op: str
    settings: dict[str, Any]
    probability: float
    augment: Augment


def _chained(step: _Step) -> float | None:
    return step.settings["fill"] if step.op in geometry.MATRICES and step.probability == 1 else None


def _without_fill(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "fill"}


def _step(name: str, blocks: Blocks, where: str) -> _Step:
    op, settings, probability = _resolved(name, blocks, where)
    if op in MIXES:
        augment: Augment = partial(MIXES[op], **settings)
        return _Step(op, settings, probability, augment if probability == 1 else _mixing_some(augment, probability))
    return _Step(op, settings, probability, per_example(_augmentation(name, blocks, where, ())))


def _resolved(name: str, blocks: Blocks, where: str) -> tuple[str, dict[str, Any], float]:
    """The operation that `name` stands for, its settings, and the probability that it is applied."""
    block, at = blocks.get(name, {}), f"{where}.{name}"
    if not isinstance(block, Mapping):
        raise UserError(f"{at}: expected a block of settings, got {block!r} ({type(block).__name__})")
    op = block.get("op", name)
    function = binding.choose(op, KNOWN, f"{at}.op" if "op" in block else where if name in blocks else f"{where}.ops")
    applied = OPS.get(block.get("of", ""), function) if function is by_class else function
    own = "probability" in inspect.signature(applied).parameters
    read_here = {"op"} | (set() if own else {"probability"}) | ({"ops"} if op in CHOICES else set())
    if function is by_class:
        settings = {"augmentations": from_block(OPS, block, at, GIVEN)}
    else:
        settings = binding.bind(function, {k: v for k, v in block.items() if k not in read_here}, at, GIVEN)
    probability = 1.0 if own else block.get("probability", 1.0)
    if not isinstance(probability, float | int) or not 0 <= probability <= 1:
        raise UserError(f"{at}.probability: {probability!r} is not in 0..1")
    return op, settings, probability


def _augmentation(name: str, blocks: Blocks, where: str, inside: tuple[str, ...]) -> Augmentation:
    op, settings, probability = _resolved(name, blocks, where)
    if op in MIXES:
        raise UserError(f"{where}.{inside[-1]}.ops: {name!r} mixes a whole batch and cannot be one of several")
    if CHOICES.get(op) is by_class:
        augmentation = by_class(**settings)
    elif op in CHOICES:
        names = blocks[name].get("ops", ())
        if not isinstance(names, tuple) or not names or name in inside:
            raise UserError(f"{where}.{name}.ops: want the names of other operations, got {names!r}")
        options = tuple(_augmentation(each, blocks, where, (*inside, name)) for each in names)
        augmentation = CHOICES[op](options, **settings)
    else:
        augmentation = partial(OPS[op], **settings)
    return augmentation if probability == 1 else with_probability(augmentation, probability)


def _mixing_some(mix: Augment, probability: float) -> Augment:
    """A mix that leaves each example as it was with probability 1 - `probability`."""

    def apply(keys: Key[Array, "b"], batch: Batch, saliency: Saliency | None = None) -> Batch:
        mixed = augmented(mix, keys, batch, saliency)
        coin = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1)))(keys) < probability

        def one_of_both(name: str) -> Array:
            after = mixed[name]
            before = kernels.to_float(batch[name]) if after.dtype != batch[name].dtype else batch[name]
            if after.shape != before.shape:
                raise UserError(f"probability: a mix that adds objects ({name!r} grows) is applied to all images")
            return jnp.where(coin.reshape(-1, *[1] * (after.ndim - 1)), after, before)

        return {name: one_of_both(name) for name in mixed}

    return apply


def operations(block: Blocks) -> set[str]:
    """Every operation that the pipeline of a config's block may apply: also those among which one is chosen, and those
    of a policy.

    Policies that do not let `ops` be chosen count by their own names.
    """
    found: set[str] = set()
    seen: set[str] = set()
    ahead = list(block.get("ops", ()))
    while ahead:
        name = ahead.pop()
        if name in seen:
            continue
        seen.add(name)
        settings = block.get(name, {})
        op = settings.get("op", name)
        found |= {op, *([settings["of"]] if "of" in settings else [])}  # by_class: of which operation
        parameters = inspect.signature(KNOWN[op]).parameters if op in KNOWN else {}
        used = {key: parameter.default for key, parameter in parameters.items()} | settings
        ahead += [
            each for value in used.values() if isinstance(value, tuple) for each in value if isinstance(each, str)
        ]
    return found
