"""Combinators: an augmentation that sends each image through some of the augmentations it is given.

On CPU an image goes through what was drawn for it and nothing else; accelerators run everything and select.
Augmentations are any `(key, example) -> example`; those to choose from return the same entries, shapes and dtypes.

Class-dependent augmentation (`by_class`), and why to be careful with it: what only some classes see tells the class.
Labels are known in training only, so nothing of it belongs before a model that predicts. `class_bias` in `explore/`
measures what it did to a trained model: accuracy per class, and whether the model learned the shortcut.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int32, Key, PRNGKeyArray

from efficient_jax.augment.entries import checked, require_augmentations
from efficient_jax.augment.kernels import loops
from efficient_jax.errors import UserError
from efficient_jax.settings import bind, choose
from efficient_jax.types import Augmentation, Example

_DRAWN = 0xC1A55  # split(key)[0] is fold_in(key, 0), which combinators inside draw from


def with_probability(augmentation: Augmentation, probability: float) -> Augmentation:
    """The augmentation, or nothing."""
    if not 0 <= probability <= 1:
        raise UserError(f"with_probability: {probability} is not in 0..1")
    return one_of((augmentation, nothing), weights=(probability, 1 - probability))


def sequence(augmentations: tuple[Augmentation, ...]) -> Augmentation:
    """All of the augmentations in order, as one: for a place where one is chosen. Each draws from keys of its own."""
    require_augmentations("sequence", augmentations)

    def apply(key: PRNGKeyArray, example: Example) -> Example:
        for position, augmentation in enumerate(augmentations):
            example = augmentation(jax.random.fold_in(key, position), example)
        return example

    return checked(apply)


def nothing(key: PRNGKeyArray, example: Example) -> Example:
    del key
    return example


def one_of(augmentations: tuple[Augmentation, ...], *, weights: tuple[float, ...] = ()) -> Augmentation:
    """One of the augmentations, each as likely as its weight says; without weights all are equally likely."""
    require_augmentations("one_of", augmentations)
    weights = tuple(weights) or (1.0,) * len(augmentations)
    if not augmentations or len(weights) != len(augmentations) or min(weights) < 0 or sum(weights) <= 0:
        raise UserError(f"one_of: {len(augmentations)} augmentations with weights {weights}: want one for each, >= 0")
    bounds = (np.cumsum(weights)[:-1] / sum(weights)).astype(np.float32)

    def apply(key: PRNGKeyArray, example: Example) -> Example:
        draw, own = jax.random.split(key)
        require_alike("one_of", augmentations, own, example)
        index = jnp.sum(jax.random.uniform(draw) >= bounds, dtype=jnp.int32)
        return loops.platform_loop(partial(switch, augmentations))(index, own, example)

    return checked(apply)


def some_of(augmentations: tuple[Augmentation, ...], *, n_min: int, n_max: int, replace: bool = False) -> Augmentation:
    """From `n_min` to `n_max` of the augmentations, how many is uniform for each image, in random order.

    replace: the same one may come again.
    """
    require_augmentations("some_of", augmentations)
    count = len(augmentations)
    if not 0 <= n_min <= n_max or not count or (n_max > count and not replace):
        raise UserError(f"some_of: want 0 <= n_min <= n_max, at most {count} without replace; got {n_min} and {n_max}")

    def layers(indices: Int32[Array, " n_max"], keys: Key[Array, " n_max"], example: Example) -> Example:
        def layer(example: Example, drawn: tuple[Array, Array]) -> tuple[Example, None]:
            return switch((*augmentations, nothing), drawn[0], drawn[1], example), None

        return lax.scan(layer, example, (indices, keys))[0]

    def apply(key: PRNGKeyArray, example: Example) -> Example:
        draw, own = jax.random.split(key)
        require_alike("some_of", (nothing, *augmentations), own, example)
        draws = jax.random.uniform(draw, (1 + (n_max if replace else count),))
        order = (draws[1:] * count).astype(jnp.int32) if replace else jnp.argsort(draws[1:])[:n_max].astype(jnp.int32)
        kept = jnp.arange(n_max) < n_min + (draws[0] * (n_max - n_min + 1)).astype(jnp.int32)
        return loops.platform_loop(layers)(jnp.where(kept, order, count), jax.random.split(own, n_max), example)

    return checked(apply)


def switch(augmentations: tuple[Augmentation, ...], index: Array, key: PRNGKeyArray, example: Example) -> Example:
    return lax.switch(index, augmentations, key, example)


def require_alike(where: str, augmentations: tuple[Augmentation, ...], key: PRNGKeyArray, example: Example) -> None:
    def returned(augmentation: Augmentation) -> dict[str, str]:
        shapes = jax.eval_shape(augmentation, key, example)
        return {entry: f"as {a.dtype}{list(a.shape)}" for entry, a in shapes.items()}

    first, *rest = ((augmentation, returned(augmentation)) for augmentation in augmentations)
    for augmentation, entries in rest:
        for entry in sorted(entry for entry, _ in entries.items() ^ first[1].items()):
            raise UserError(
                f"{where}: {_name(augmentation)} returns {entry!r} {entries.get(entry, 'not at all')}, "
                f"{_name(first[0])} {first[1].get(entry, 'not at all')}: what is chosen from must return the same"
            )


def _name(augmentation: Augmentation) -> str:
    function = augmentation.func if isinstance(augmentation, partial) else augmentation
    return getattr(function, "__name__", repr(function))


def by_class(augmentations: tuple[Augmentation, ...]) -> Augmentation:
    """The augmentation of the example's class, the largest entry of its label (arXiv 2204.03632), the first of several.

    All draw from the same key: the same augmentation for every class is that augmentation, bit for bit. An image
    that nobody labelled (its label is all zeros) is treated as one of a class drawn at random.
    """
    require_augmentations("by_class", augmentations)
    branches, branch_of = shared(augmentations)

    def apply(key: PRNGKeyArray, example: Example) -> Example:
        if "label" not in example:
            raise UserError("by_class: the example has no label; labels are known only in training")
        label = example["label"]
        if label.shape != (len(augmentations),):
            raise UserError(
                f"by_class: {len(augmentations)} augmentations, one for each class, but labels are "
                f"{label.dtype}{list(label.shape)}, not a distribution over as many classes"
            )
        if len(branches) == 1:
            return branches[0](key, example)
        require_alike("by_class", branches, key, example)
        drawn = (jax.random.uniform(jax.random.fold_in(key, _DRAWN)) * len(label)).astype(jnp.int32)
        number = jnp.where(jnp.any(label > 0), jnp.argmax(label).astype(jnp.int32), drawn)
        return loops.platform_loop(partial(switch, branches))(jnp.asarray(branch_of)[number], key, example)

    return checked(apply)


def shared(augmentations: tuple[Augmentation, ...]) -> tuple[tuple[Augmentation, ...], np.ndarray]:
    """(the different ones among the augmentations, for each class the index of its own)."""
    if not augmentations:
        raise UserError("by_class: no augmentations; want one for each class")
    parts = [_parts(each) for each in augmentations]
    first = [parts.index(each) for each in parts]
    different = sorted(set(first))
    return tuple(augmentations[i] for i in different), np.searchsorted(different, first).astype(np.int32)


def _parts(augmentation: Any) -> Any:
    """What makes two partials equal; python compares them by identity."""
    if isinstance(augmentation, partial):
        return augmentation.func, augmentation.args, augmentation.keywords
    return augmentation


def from_block(
    ops: Mapping[str, Callable[..., Example]], block: Mapping[str, Any], where: str
) -> tuple[Augmentation, ...]:
    """The augmentations that a config's block describes, one for each class.

    `of` names the operation. A tuple where it takes one value has one for each class; the rest is the same for all.

    Raises: UserError naming `where` for no such tuple, tuples of different lengths, and what the operation refuses.
    """
    function = choose(block.get("of", ""), ops, f"{where}.of")
    wanted = {name: parameter.annotation for name, parameter in inspect.signature(function).parameters.items()}
    # A probability is the pipeline's, but for the operations that have their own.
    settings = {name: value for name, value in block.items() if name not in {"op", "of", "probability"} - wanted.keys()}
    tuples = {
        name: value
        for name, value in settings.items()
        if isinstance(value, tuple) and getattr(wanted.get(name, tuple), "__origin__", wanted.get(name)) is not tuple
    }
    lengths = {len(value) for value in tuples.values()}
    if len(lengths) != 1 or 0 in lengths:
        found = ", ".join(f"{name}: {len(value)}" for name, value in tuples.items()) or "none"
        raise UserError(f"{where}: by_class wants tuples of one value for each class, all of one length; found {found}")
    each = [settings | {name: value[number] for name, value in tuples.items()} for number in range(*lengths)]
    return tuple(partial(function, **bind(function, own, where)) for own in each)
