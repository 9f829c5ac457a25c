"""Losses between what a student and a teacher see inside, which need no classes, channels or sizes in common.

One loss per image; the caller reduces. No gradient is stopped here: the teacher's side is the caller's constant.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from efficient_jax.types import UserError


def fitnet(
    student: Float[Array, "b *hw c"],
    teacher: Float[Array, "b *hw2 d"],
    weight: Float[Array, "c d"],
    bias: Float[Array, " d"],
) -> Float[Array, " b"]:
    """Squared error of a linear regression (a 1x1 convolution) from the student's channels to the teacher's, the mean
    over pixels and channels (arXiv 1412.6550; eq. 3 has half the sum)."""
    student, teacher = same_size(student, teacher)
    return _mean(jnp.square(student @ weight + bias - teacher))


def attention(student: Float[Array, "b *hw c"], teacher: Float[Array, "b *hw2 d"]) -> Float[Array, " b"]:
    """Squared difference of where both look: sums over channels of squares, divided by their norm; the mean over
    pixels, as in the authors' code, for which their factor of 1000 is meant (arXiv 1612.03928; eq. 2 has the norm)."""
    maps = [_unit(jnp.square(x).sum(-1).reshape(len(x), -1)) for x in same_size(student, teacher)]
    return jnp.square(maps[0] - maps[1]).mean(1)


def similarity(
    student: Float[Array, "b *rest"], teacher: Float[Array, "b *rest2"], own: Int[Array, " n"]
) -> Float[Array, " n"]:
    """Squared difference of how alike each image is to all b of the batch: rows of the Gram matrices, divided by
    their norms. The mean over the images is the paper's ||.||_F^2 / b^2 (arXiv 1907.09682, factor 3000)."""
    rows = [_unit(x[own] @ x.T) for x in map(_flat, (student, teacher))]
    return jnp.square(rows[0] - rows[1]).mean(1)


def distance(
    student: Float[Array, "b *rest"], teacher: Float[Array, "b *rest2"], own: Int[Array, " n"]
) -> Float[Array, " n"]:
    """Huber loss of the distances to all b images of the batch, in units of the mean distance between two
    (arXiv 1904.05068, factor 25); the mean over all b, as in the authors' code."""
    return _huber(*(_distances(_flat(x))[own] for x in (student, teacher)))


def angle(
    student: Float[Array, "b *rest"], teacher: Float[Array, "b *rest2"], own: Int[Array, " n"]
) -> Float[Array, " n"]:
    """Huber loss of the cosines of the angles at each image between the directions to any two of the b images of the
    batch (arXiv 1904.05068, factor 50); the mean over all b^2, as in the authors' code."""
    return _huber(*(_cosines(_flat(x), own) for x in (student, teacher)))


BATCH: dict[str, Callable[..., Array]] = {"similarity": similarity, "distance": distance, "angle": angle}
"""Between the images of a batch: all of it takes part, `own` are those whose losses are wanted."""


def same_size(
    student: Float[Array, "b *hw c"], teacher: Float[Array, "b *hw2 d"]
) -> tuple[Float[Array, "b *hw3 c"], Float[Array, "b *hw3 d"]]:
    """Both as high as the lower and as wide as the narrower, by means over pixels. Raises: UserError where one is an
    image and the other is not, or rows of tokens have different lengths."""
    a, b = student.shape[1:-1], teacher.shape[1:-1]
    if len(a) != len(b) or (len(a) == 1 and a != b):
        raise UserError(f"features {list(student.shape)} and {list(teacher.shape)} cannot be laid on each other")
    if len(a) != 2:
        return student, teacher
    size = (min(a[0], b[0]), min(a[1], b[1]))
    return _pooled(student, size), _pooled(teacher, size)


def _pooled(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    """Means over `size` tiles, which overlap where it divides the number of pixels unevenly (torch's adaptive pool)."""
    down, across = (jnp.asarray(_tiles(n, m), x.dtype) for n, m in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum("ih,jw,bhwc->bijc", down, across, x) if size != x.shape[1:3] else x


def _tiles(n: int, m: int) -> Float[np.ndarray, "m n"]:
    """Which of n pixels are averaged in each of m tiles."""
    first, last = np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)
    inside = (np.arange(n) >= first[:, None]) & (np.arange(n) < last[:, None])
    return inside / inside.sum(1, keepdims=True)


def _distances(x: Float[Array, "b d"]) -> Float[Array, "b b"]:
    distances = _norm(x[:, None] - x)[..., 0]  # an image is at 0 from itself exactly, as a Gram matrix would not say
    pairs = jnp.maximum((distances > 0.0).sum(), 1).astype(x.dtype)
    mean = distances.sum() / pairs
    return distances / jnp.where(mean > 0.0, mean, 1.0)


def _cosines(x: Float[Array, "b d"], own: Int[Array, " n"]) -> Float[Array, "n b b"]:
    directions = _unit(x - x[own][:, None])
    return directions @ directions.swapaxes(1, 2)


def _norm(x: Float[Array, "*b d"]) -> Float[Array, "*b 1"]:
    """With a gradient of 0 where it is 0: that of a root is none, and a `where` behind it would hand on 0 x inf."""
    square = jnp.square(x).sum(-1, keepdims=True)
    return jnp.where(square > 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)), 0.0)


def _unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    norm = _norm(x)
    return x / jnp.where(norm > 0.0, norm, 1.0)


def _huber(student: Float[Array, "n *rest"], teacher: Float[Array, "n *rest"]) -> Float[Array, " n"]:
    return _mean(optax.huber_loss(student, teacher))


def _mean(x: Float[Array, "b *rest"]) -> Float[Array, " b"]:
    return _flat(x).mean(1)


def _flat(x: Float[Array, "b *rest"]) -> Float[Array, "b d"]:
    return x.reshape(len(x), -1).astype(jnp.float32)
