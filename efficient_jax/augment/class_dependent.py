"""Class-dependent augmentation, and why to be careful with it: what only some classes see tells the class.

Labels are known in training only, so nothing here belongs before a model that predicts. `class_bias` in `explore/`
measures what it did to a trained model: accuracy per class, and whether the model learned the shortcut.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from efficient_jax import settings as binding
from efficient_jax.augment import choose, entries
from efficient_jax.augment.kernels import loops
from efficient_jax.types import Augmentation, Example, UserError

_DRAWN = 0xC1A55  # split(key)[0] is fold_in(key, 0), which combinators inside draw from


def by_class(augmentations: tuple[Augmentation, ...]) -> Augmentation:
    """The augmentation of the example's class, the largest entry of its label (arXiv 2204.03632), the first of several.

    All draw from the same key: the same augmentation for every class is that augmentation, bit for bit. An image
    that nobody labelled (its label is all zeros) is treated as one of a class drawn at random.
    """
    entries.require_augmentations("by_class", augmentations)
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
        choose.require_alike("by_class", branches, key, example)
        drawn = (jax.random.uniform(jax.random.fold_in(key, _DRAWN)) * len(label)).astype(jnp.int32)
        number = jnp.where(jnp.any(label > 0), jnp.argmax(label).astype(jnp.int32), drawn)
        return loops.platform_loop(partial(choose.switch, branches))(jnp.asarray(branch_of)[number], key, example)

    return entries.checked(apply)


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
    ops: Mapping[str, Callable[..., Example]], block: Mapping[str, Any], where: str, given: Collection[str]
) -> tuple[Augmentation, ...]:
    """The augmentations that a config's block describes, one for each class.

    `of` names the operation. A tuple where it takes one value has one for each class; the rest is the same for all.

    Raises: UserError naming `where` for no such tuple, tuples of different lengths, and what the operation refuses.
    """
    function = binding.choose(block.get("of", ""), ops, f"{where}.of")
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
    return tuple(partial(function, **binding.bind(function, own, where, given)) for own in each)
