"""What every method begins with: an augmented view of its examples."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from efficient_jax import keys as random_keys
from efficient_jax.types import Augment, Batch


def one_view(
    augment: Augment, batch: dict[str, Batch], keys: dict[str, Key[Array, "?b"]]
) -> tuple[Batch, Key[Array, "n"]]:
    """All streams, one behind the other in the order of their names, augmented; and the model's keys for them.

    One program augments all and one forward pass sees all, BatchNorm too. Streams have even lengths where images
    are mixed with their neighbours, so that labelled and unlabelled images do not mix.
    """
    names = sorted(batch)
    together = {entry: jnp.concatenate([batch[name][entry] for name in names]) for entry in batch[names[0]]}
    all_keys = jnp.concatenate([keys[name] for name in names])
    return augment(random_keys.view(all_keys, "augment"), together), random_keys.view(all_keys, "model")


def right(logits: Float[Array, "b classes"], labels: Float[Array, "b classes"]) -> Float[Array, "b"]:
    """1.0 where the largest logit is the most probable label."""
    return (logits.argmax(-1) == labels.argmax(-1)).astype(jnp.float32)


def all_right(logits: Float[Array, "b classes"], labels: Float[Array, "b classes"]) -> Float[Array, "b"]:
    """1.0 where every one of several labels is right at a threshold of 0.5."""
    return ((logits >= 0.0) == (labels >= 0.5)).all(-1).astype(jnp.float32)
