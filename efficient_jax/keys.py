"""Random keys: each follows from the run's seed, a name, the step and a position in the batch."""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray


def named(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """Returns the key of a name; it does not depend on what other names there are.

    Args:
        key: the key to derive it from.
        name: what the key is for.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def by_position(key: PRNGKeyArray, first: int | Array, n: int) -> Key[Array, " n"]:
    """Returns one key for each of `n` positions of the global batch.

    By position and not by image: with few labels an image is in one batch several times, and should be augmented
    differently each time.

    Args:
        key: of the step.
        first: first position, 0 or more.
        n: number of positions.
    """
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(n))


def view(keys: Key[Array, " n"], name: str) -> Key[Array, " n"]:
    """Returns the keys of one use (an augmented view, the model's dropout) of the same examples.

    Args:
        keys: one for each of n examples.
        name: of the use.
    """
    return jax.vmap(lambda key: named(key, name))(keys)
