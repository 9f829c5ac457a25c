"""Combinators: augmentations that apply some of several augmentations to each image.

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
from jaxtyping import Array, Int32, Key, PRNGKeyArray, UInt32

from efficient_jax.augment.entries import checked, require_augmentations
from efficient_jax.augment.kernels import loops
from efficient_jax.errors import UserError
from efficient_jax.settings import bind, choose
from efficient_jax.types import Augmentation, Example

_DRAWN = 0xC1A55  # split(key)[0] is fold_in(key, 0), which combinators inside draw from


def with_probability(augmentation: Augmentation, probability: float) -> Augmentation:
    """Returns an augmentation that applies the given one with a probability, and else changes nothing.

    Args:
        augmentation: `(key, example) -> example` that keeps entries, shapes and dtypes.
        probability: in 0..1.

    Returns: `(key, example) -> example`.

    Raises: UserError for a probability outside 0..1.
    """
    if not 0 <= probability <= 1:
        raise UserError(f"with_probability: {probability} is not in 0..1")
    return one_of((augmentation, nothing), weights=(probability, 1 - probability))


def sequence(augmentations: tuple[Augmentation, ...]) -> Augmentation:
    """Returns all of the augmentations in order, as one: for a place where one is chosen.

    Args:
        augmentations: `(key, example) -> example` each; each draws from a key of its own. A config names them in `ops`.

    Returns: `(key, example) -> example`.

    Raises: UserError for what is not a tuple of functions.
    """
    require_augmentations("sequence", augmentations)

    def apply(key: PRNGKeyArray, example: Example) -> Example:
        for position, augmentation in enumerate(augmentations):
            example = augmentation(jax.random.fold_in(key, position), example)
        return example

    return checked(apply)


def nothing(key: PRNGKeyArray, example: Example) -> Example:
    """Returns the example as it is.

    Args:
        key, example: see types.Example.

    Returns: the example.
    """
    del key
    return example


def one_of(augmentations: tuple[Augmentation, ...], *, weights: tuple[float, ...] = ()) -> Augmentation:
    """Returns an augmentation that applies one of those given, drawn for each image.

    Args:
        augmentations: `(key, example) -> example` each. A config names them in `ops`.
        weights: relative probability of each augmentation, 0.0 or more, not all 0.0; () makes all equally likely.

    Returns: `(key, example) -> example`.

    Raises: UserError for weights that do not fit, and for augmentations that return other entries, shapes or dtypes.
    """
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
    """Returns an augmentation that applies from `n_min` to `n_max` of those given, in random order.

    How many is uniform, drawn for each image.

    Args:
        augmentations: `(key, example) -> example` each. A config names them in `ops`.
        n_min: fewest that are applied, 0 or more.
        n_max: most that are applied, `n_min` or more; without `replace` at most as many as there are.
        replace: whether the same augmentation may be drawn again.

    Returns: `(key, example) -> example`.

    Raises: UserError for counts outside their ranges, and for augmentations that return other entries, shapes or
        dtypes.
    """
    require_augmentations("some_of", augmentations)
    count = len(augmentations)
    if not 0 <= n_min <= n_max or not count or (n_max > count and not replace):
        raise UserError(f"some_of: want 0 <= n_min <= n_max, at most {count} without replace; got {n_min} and {n_max}")

    def layers(
        indices: Int32[Array, " n_max"], keys: Key[Array, " n_max"] | UInt32[Array, "n_max 2"], example: Example
    ) -> Example:
        def layer(example: Example, drawn: tuple[Array, Array]) -> tuple[Example, None]:
            return switch((*augmentations, nothing), drawn[0], drawn[1], example), None

        augmented: Example = lax.scan(layer, example, (indices, keys))[0]
        return augmented

    def apply(key: PRNGKeyArray, example: Example) -> Example:
        draw, own = jax.random.split(key)
        require_alike("some_of", (nothing, *augmentations), own, example)
        draws = jax.random.uniform(draw, (1 + (n_max if replace else count),))
        order = (draws[1:] * count).astype(jnp.int32) if replace else jnp.argsort(draws[1:])[:n_max].astype(jnp.int32)
        kept = jnp.arange(n_max) < n_min + (draws[0] * (n_max - n_min + 1)).astype(jnp.int32)
        return loops.platform_loop(layers)(jnp.where(kept, order, count), jax.random.split(own, n_max), example)

    return checked(apply)


def switch(augmentations: tuple[Augmentation, ...], index: Array, key: PRNGKeyArray, example: Example) -> Example:
    """Applies the augmentation of an index.

    Args:
        augmentations: `(key, example) -> example` each, which return the same entries, shapes and dtypes.
        index: int32 scalar in 0..len(augmentations) - 1.
        key, example: see types.Example.

    Returns: the example of that augmentation.
    """
    augmented: Example = lax.switch(index, augmentations, key, example)
    return augmented


def require_alike(where: str, augmentations: tuple[Augmentation, ...], key: PRNGKeyArray, example: Example) -> None:
    """Checks that all augmentations return the same entries, shapes and dtypes, without running them.

    Args:
        where: the combinator, for the error message.
        augmentations: `(key, example) -> example` each, one or more.
        key, example: what they are called with.

    Raises: UserError naming the augmentation and the first entry that differs.
    """

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
    """Returns the augmentation of the example's class, the largest entry of its label (arXiv 2204.03632).

    Of several equal entries the first one counts. All draw from the same key: the same augmentation for every class is
    that augmentation, bit for bit. An image without a label (all zeros) is treated as one of a class drawn at random.

    Args:
        augmentations: `(key, example) -> example` for each class. In a config: `of`, an operation, with tuples of
            settings.

    Returns: `(key, example) -> example`.

    Raises: UserError for no augmentations, an example without a label or of another number of classes, and for
        augmentations that return other entries, shapes or dtypes.
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
    """Returns the distinct augmentations, and which of them each class has.

    Args:
        augmentations: one for each class; partials of equal functions and arguments are one.

    Returns: (the distinct ones, int32 [classes] of indices into them).

    Raises: UserError for no augmentations.
    """
    if not augmentations:
        raise UserError("by_class: no augmentations; want one for each class")
    parts = [_parts(each) for each in augmentations]
    first = [parts.index(each) for each in parts]
    different = sorted(set(first))
    return tuple(augmentations[i] for i in different), np.searchsorted(different, first).astype(np.int32)


def _parts(augmentation: Any) -> Any:
    """Returns a key that is equal for equal partials, which python compares by identity."""
    if isinstance(augmentation, partial):
        return augmentation.func, augmentation.args, augmentation.keywords
    return augmentation


def from_block(
    ops: Mapping[str, Callable[..., Example]], block: Mapping[str, Any], where: str
) -> tuple[Augmentation, ...]:
    """Returns the augmentations that a config's block describes, one for each class.

    Args:
        ops: operation -> function.
        block: `of` names the operation. A tuple where it takes one value has one for each class; the rest is the same
            for all.
        where: the dotted path of the block, for errors.

    Returns: the operation with its settings, for each class.

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
