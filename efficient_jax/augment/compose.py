"""Augmentations one after the other."""

import jax
from jaxtyping import Array, Key

from efficient_jax.types import Augment, Augmentation, Batch


def per_example(augmentation: Augmentation) -> Augment:
    """An augmentation of one example as one of a batch."""
    return jax.vmap(augmentation)


def pipeline(augmentations: tuple[Augment, ...]) -> Augment:
    """Augmentations of batches, in order. Each draws from keys of its own, `fold_in(key, position)`."""

    def apply(keys: Key[Array, "b"], batch: Batch) -> Batch:
        for position, augmentation in enumerate(augmentations):
            own = jax.vmap(lambda key, position=position: jax.random.fold_in(key, position))(keys)
            batch = augmentation(own, batch)
        return batch

    return apply
