"""Randomness is an argument: every key follows from the run's seed, a name, the step and a position."""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray


def named(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """The key for something called `name`; it does not depend on what else has a name."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def by_position(key: PRNGKeyArray, first: int | Array, n: int) -> Key[Array, " n"]:
    """One key for each of the `n` positions of the global batch from `first` on.

    By position and not by image: with few labels an image stands several times in one batch, and each time
    should be augmented in another way.
    """
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(n))


def view(keys: Key[Array, " n"], name: str) -> Key[Array, " n"]:
    """The keys for one use (an augmented view, the model's dropout) of the same examples."""
    return jax.vmap(lambda key: named(key, name))(keys)
