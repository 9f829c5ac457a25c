"""Builds the augmentation pipeline that a config's block describes, and applies augmentations to batches."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax.augment import entries
from efficient_jax.augment.combinators import by_class, from_block, nothing, sequence, with_probability
from efficient_jax.augment.geometry import fused
from efficient_jax.augment.kernels import dtypes
from efficient_jax.augment.registry import CHOICES, MIXES, OPS, PHASED
from efficient_jax.errors import UserError
from efficient_jax.settings import Settings, bind, choose, several_names
from efficient_jax.types import Augment, Augmentation, Batch, BatchKeys, Saliency

Blocks = Mapping[str, Any]
KNOWN: dict[str, Callable[..., Any]] = {**OPS, **MIXES, **CHOICES, **PHASED}
NAMES = {"one_of": ("ops",), "some_of": ("ops",), "sequence": ("ops",), "document": ("ink", "paper", "post")}
"""Operation -> the keys of its block that name other operations."""


def per_example(augmentation: Augmentation) -> Augment:
    """Returns an augmentation of one example as one of a batch, which is checked: see `entries.check`.

    Args:
        augmentation: `(key, example) -> example`.

    Returns: `(keys, batch) -> batch`.
    """
    each: Augment = jax.vmap(jax.jit(entries.checked(augmentation)))  # traced once, for batches of every size

    def apply(keys: BatchKeys, batch: Batch) -> Batch:
        batch = entries.check_batch(keys, batch)
        entries.require_range(batch["image"])
        return each(keys, batch)

    return apply


def pipeline(augmentations: tuple[Augment, ...]) -> Augment:
    """Returns augmentations of batches as one, applied in order.

    Args:
        augmentations: `(keys, batch) -> batch` each, see types.Augment. Each draws from keys of its own, `fold_in(key,
            position)`.

    Returns: `(keys, batch, saliency=None) -> batch`, which checks the batch, see `entries.check_batch`.
    """

    def apply(keys: BatchKeys, batch: Batch, saliency: Saliency | None = None) -> Batch:
        batch = entries.check_batch(keys, batch)
        for position, augmentation in enumerate(augmentations):
            own = jax.vmap(lambda key, position=position: jax.random.fold_in(key, position))(keys)
            batch = augmented(augmentation, own, batch, saliency)
        return batch

    return apply


def augmented(augment: Augment, keys: BatchKeys, batch: Batch, saliency: Saliency | None) -> Batch:
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
    """Returns the pipeline of a config: `ops` in order, `blocks` holding the settings of those that take any.

    A name stands for the operation of that name, or for the one that its block gives as `op`. Every operation takes a
    `probability`; one_of, some_of and sequence take `ops`, names again, document takes them as `ink`, `paper` and
    `post`, and by_class takes `of`, a name, with tuples of settings for the classes. Neighbouring changes of geometry
    become one, see `geometry.fused`.

    Args:
        ops: names of operations, or of blocks that have an `op`.
        blocks: name -> its settings. Blocks that `ops` does not name are checked too.
        where: the dotted path of the blocks, for errors.

    Returns: `(keys, batch, saliency=None) -> batch`.

    Raises: UserError for names and settings that do not exist, naming their place.
    """
    steps = _steps(ops, blocks, where, f"{where}.ops", ())
    for name in blocks:  # those that are not used today are checked too
        if name not in ("ops", *ops):
            _step(name, blocks, where, where, ())
    return pipeline(tuple(step.batched or per_example(step.one) for step in steps))


class _Step(NamedTuple):
    op: str
    settings: Settings
    probability: float
    one: Augmentation
    batched: Augment | None = None  # of an operation that mixes a whole batch


def _steps(names: tuple[str, ...], blocks: Blocks, where: str, asked: str, inside: tuple[str, ...]) -> list[_Step]:
    """Returns the steps of `names`, the value of the key `asked`; neighbouring changes of geometry are one step."""
    several_names(names, asked)
    steps = [_step(name, blocks, where, asked, inside) for name in names]
    for start, stop in reversed(fused.chains([step.op for step in steps])):
        one = fused.chain([fused.Step(step.op, step.settings, step.probability) for step in steps[start:stop]])
        steps[start:stop] = [_Step("chain", {}, 1.0, one)]
    return steps


def _step(name: str, blocks: Blocks, where: str, asked: str, inside: tuple[str, ...]) -> _Step:
    op, settings, probability = _resolved(name, blocks, where, asked)
    if op not in MIXES:
        one = _augmentation(op, name, settings, blocks, where, inside)
        return _Step(op, settings, probability, one if probability == 1 else with_probability(one, probability))
    if inside:
        raise UserError(f"{asked}: {name!r} mixes a whole batch and cannot be one of several")
    mix: Augment = partial(MIXES[op], **settings)
    return _Step(op, settings, probability, nothing, mix if probability == 1 else _mixing_some(mix, probability))


def _resolved(name: str, blocks: Blocks, where: str, asked: str) -> tuple[str, Settings, float]:
    """Returns the operation of `name`, its settings, and the probability that it is applied."""
    if not isinstance(name, str):
        raise UserError(f"{asked}: want names of operations, got {name!r} ({type(name).__name__})")
    block, at = blocks.get(name, {}), f"{where}.{name}"
    if not isinstance(block, Mapping):
        raise UserError(f"{at}: expected a block of settings, got {block!r} ({type(block).__name__})")
    op = block.get("op", name)
    function = choose(op, KNOWN, f"{at}.op" if "op" in block else where if name in blocks else asked)
    applied = OPS.get(block.get("of", ""), function) if function is by_class else function
    own = "probability" in inspect.signature(applied).parameters
    read_here = {"op", *NAMES.get(op, ())} | (set() if own else {"probability"})
    if function is by_class:
        settings = {"augmentations": from_block(OPS, block, at)}
    else:
        settings = bind(function, {k: v for k, v in block.items() if k not in read_here}, at)
    probability = 1.0 if own else block.get("probability", 1.0)
    if not isinstance(probability, float | int) or not 0 <= probability <= 1:
        raise UserError(f"{at}.probability: {probability!r} is not in 0..1")
    return op, settings, probability


def _augmentation(
    op: str, name: str, settings: Settings, blocks: Blocks, where: str, inside: tuple[str, ...]
) -> Augmentation:
    """Returns `op` with its settings, and with the operations that the block `name` names for it."""

    def named(key: str) -> tuple[Any, ...]:  # `_step` refuses what is no name, and says where
        names = blocks.get(name, {}).get(key, ())
        if not isinstance(names, tuple) or not (names or op in PHASED) or name in inside:
            raise UserError(f"{where}.{name}.{key}: want the names of other operations, got {names!r}")
        return names

    def one_by_one(key: str) -> tuple[Augmentation, ...]:
        return tuple(_step(each, blocks, where, f"{where}.{name}.{key}", (*inside, name)).one for each in named(key))

    def in_order(key: str) -> tuple[Augmentation, ...]:
        steps = _steps(named(key), blocks, where, f"{where}.{name}.{key}", (*inside, name))
        return tuple(step.one for step in steps)

    if op in PHASED:
        return partial(PHASED[op], **settings, **{key: in_order(key) for key in NAMES[op]})
    if op == "sequence":
        return sequence(in_order("ops"))
    if op in NAMES:
        return CHOICES[op](one_by_one("ops"), **settings)
    return by_class(**settings) if op in CHOICES else partial(OPS[op], **settings)


def _mixing_some(mix: Augment, probability: float) -> Augment:
    """Returns a mix that leaves each example as it was with probability 1 - `probability`."""

    def apply(keys: BatchKeys, batch: Batch, saliency: Saliency | None = None) -> Batch:
        mixed = augmented(mix, keys, batch, saliency)
        coin = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1)))(keys) < probability

        def one_of_both(name: str) -> Array:
            after = mixed[name]
            before = dtypes.to_float(batch[name]) if after.dtype != batch[name].dtype else batch[name]
            if after.shape != before.shape:
                raise UserError(f"probability: a mix that adds objects ({name!r} grows) is applied to all images")
            return jnp.where(coin.reshape(-1, *[1] * (after.ndim - 1)), after, before)

        return {name: one_of_both(name) for name in mixed}

    return apply


def operations(block: Blocks) -> set[str]:
    """Returns every operation that the pipeline of a config's block may apply.

    Operations among which one is chosen and those of a policy count too. Policies that do not let `ops` be chosen count
    by their own names.

    Args:
        block: `ops` and the settings of operations, see `build`.

    Returns: names of operations.

    Raises: UserError if `ops` is not a tuple of names.
    """
    found: set[str] = set()
    seen: set[str] = set()
    ahead = list(several_names(block.get("ops", ()), "augment.ops"))
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
