"""What every method begins with: an augmented view of its examples."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from efficient_jax import keys as random_keys
from efficient_jax.types import Augment, Batch


def one_view(
    augment: Augment, batch: dict[str, Batch], keys: dict[str, Key[Array, "?b"]]
) -> tuple[Batch, Key[Array, "n"]]:
    """All streams, each augmented, one behind the other in the order of their names, and the model's keys for them.

    One forward pass for all, so that BatchNorm sees labelled and unlabelled images together.
    """
    views = [augment(random_keys.view(keys[name], "augment"), batch[name]) for name in sorted(batch)]
    together = {entry: jnp.concatenate([view[entry] for view in views]) for entry in views[0]}
    return together, random_keys.view(jnp.concatenate([keys[name] for name in sorted(batch)]), "model")


def right(logits: Float[Array, "b classes"], labels: Float[Array, "b classes"]) -> Float[Array, "b"]:
    """1.0 where the largest logit is the most probable label."""
    return (logits.argmax(-1) == labels.argmax(-1)).astype(jnp.float32)
