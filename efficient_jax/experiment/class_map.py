"""A teacher with other classes than its student: which of its classes mean which of the student's."""

from collections.abc import Mapping
from unicodedata import normalize

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from efficient_jax import settings
from efficient_jax.errors import UserError
from efficient_jax.types import Apply, Tree


def mapped(
    apply: Apply, class_map: Mapping[str, str], theirs: tuple[str, ...], ours: tuple[str, ...], where: str
) -> Apply:
    """The teacher `apply` with logits of the classes `ours`, whose probabilities are the sums of those of the classes
    that `class_map` {teacher's: student's} joins; what it does not name is left out, and the rest adds up to 1.

    Raises: UserError naming `where` for a class that teacher or student does not have, and for one of the student's
    that none is mapped to.
    """
    class_map = {normalize("NFC", their): normalize("NFC", our) for their, our in class_map.items()}
    for theirs_named, ours_named in class_map.items():
        settings.choose(theirs_named, dict.fromkeys(theirs), f"{where}: classes of the teacher")
        settings.choose(ours_named, dict.fromkeys(ours), f"{where}: classes of the data")
    if missing := [name for name in ours if name not in class_map.values()]:
        raise UserError(f"{where}: no class of the teacher is mapped to {missing[0]!r}")
    columns = np.array([theirs.index(name) for name in class_map])
    group = np.array([ours.index(name) for name in class_map.values()])

    def joined(
        variables: Tree, images: UInt8[Array, "b h w c"] | Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"]
    ) -> tuple[tuple[Float[Array, "b classes"], dict[str, Array]], Tree]:
        (logits, seen), state = apply(variables, images, train, keys)
        return (logsumexp_by(logits[:, columns], group, len(ours)), seen), state

    return joined


def logsumexp_by(logits: Float[Array, "b n"], group: np.ndarray, groups: int) -> Float[Array, "b groups"]:
    """logsumexp over the columns of each group; none is empty."""
    z = logits.astype(jnp.float32).T
    top = jax.ops.segment_max(z, group, groups)
    return (top + jnp.log(jax.ops.segment_sum(jnp.exp(z - top[group]), group, groups))).T
