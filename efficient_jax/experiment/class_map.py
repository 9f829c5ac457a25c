"""Teachers with other classes than their student: maps the classes of the teacher to those of the student."""

from collections.abc import Mapping
from unicodedata import normalize

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from efficient_jax import settings
from efficient_jax.errors import UserError
from efficient_jax.types import Apply, Tree


def mapped(
    apply: Apply, class_map: Mapping[str, str], theirs: tuple[str, ...], ours: tuple[str, ...], where: str
) -> Apply:
    """Wraps a teacher so that its logits are those of the student's classes.

    The probability of a student's class is the sum of those of the teacher's classes that are mapped to it. Classes
    that are not mapped are left out, and the probabilities of the others sum to 1.

    Args:
        apply: the network of the teacher.
        class_map: class of the teacher -> class of the student.
        theirs: names of the teacher's classes.
        ours: names of the student's classes.
        where: what an error names.

    Raises: UserError for a class that teacher or student does not have, and for a class of the student to which none is
        mapped.
    """
    class_map = {normalize("NFC", their): normalize("NFC", our) for their, our in class_map.items()}
    for their_class, our_class in class_map.items():
        settings.choose(their_class, dict.fromkeys(theirs), f"{where}: classes of the teacher")
        settings.choose(our_class, dict.fromkeys(ours), f"{where}: classes of the data")
    if missing := [name for name in ours if name not in class_map.values()]:
        raise UserError(f"{where}: no class of the teacher is mapped to {missing[0]!r}")
    columns = np.array([theirs.index(name) for name in class_map])
    group = np.array([ours.index(name) for name in class_map.values()])

    def joined(
        variables: Tree, images: Shaped[Array, "b ..."], train: bool, keys: Key[Array, " b"] | None
    ) -> tuple[tuple[Float[Array, "b *hw classes"], dict[str, Array]], Tree]:
        (logits, seen), state = apply(variables, images, train, keys)
        return (logsumexp_by(logits[..., columns], group, len(ours)), seen), state

    return joined


def logsumexp_by(logits: Float[Array, "b *hw n"], group: np.ndarray, groups: int) -> Float[Array, "b *hw groups"]:
    """Returns the logsumexp over the columns of each group.

    Args:
        logits: of each example, or of its pixels.
        group: group of each column, int [n] in 0..groups - 1; no group is empty.
        groups: number of groups.
    """
    z = jnp.moveaxis(logits.astype(jnp.float32), -1, 0)
    top = jax.ops.segment_max(z, group, groups)
    return jnp.moveaxis(top + jnp.log(jax.ops.segment_sum(jnp.exp(z - top[group]), group, groups)), 0, -1)
