"""Losses between the intermediate features of a student and a teacher (feature distillation).

Student and teacher need no classes, channels or sizes in common. Each function returns one loss per image, which the
caller reduces. Gradients reach both sides: the caller stops those of the teacher.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from efficient_jax.errors import UserError


def fitnet(
    student: Float[Array, "b *hw c"],
    teacher: Float[Array, "b *hw2 d"],
    weight: Float[Array, "c d"],
    bias: Float[Array, " d"],
) -> Float[Array, " b"]:
    """Returns the mean squared error of a linear map from the student's channels to the teacher's (arXiv 1412.6550).

    The mean is over pixels and channels; eq. 3 of the paper has half the sum.

    Args:
        student: features of the student: a feature map, tokens, or a vector per image.
        teacher: features of the teacher, of the same kind; both are pooled to a common size (`same_size`).
        weight: the map, a 1x1 convolution, which the caller trains.
        bias: added to the mapped features.

    Returns: one loss per image.

    Raises: UserError, as `same_size`.
    """
    student, teacher = same_size(student, teacher)
    return _mean(jnp.square(student @ weight + bias - teacher))


def cosine(
    student: Float[Array, "b *hw c"],
    teacher: Float[Array, "b *hw2 d"],
    weight: Float[Array, "c d"],
    bias: Float[Array, " d"],
) -> Float[Array, " b"]:
    """Returns 0.9 (1 - cosine) + 0.1 smooth L1 of a linear map of the student's features (arXiv 2312.06709).

    Learning the features of a pretrained network so needs no labels: a good start for few of them.

    Args:
        student: as in `fitnet`.
        teacher: as in `fitnet`.
        weight: as in `fitnet`.
        bias: as in `fitnet`.

    Returns: one loss per image, the mean over its pixels or tokens.

    Raises: UserError, as `same_size`.
    """
    student, teacher = same_size(student, teacher)
    mapped = student @ weight + bias
    angles = 1.0 - (unit(mapped) * unit(teacher)).sum(-1)
    return 0.9 * _mean(angles[..., None]) + 0.1 * _huber(mapped, teacher)


def attention(student: Float[Array, "b *hw c"], teacher: Float[Array, "b *hw2 d"]) -> Float[Array, " b"]:
    """Returns the mean squared difference of spatial attention maps (arXiv 1612.03928).

    An attention map is the sum of squares over channels, divided by its norm over pixels. The mean over pixels is that
    of the authors' code, and their factor of 1000 belongs to it; eq. 2 of the paper has the norm.

    Args:
        student: features of the student: a feature map or tokens.
        teacher: features of the teacher, of the same kind; both are pooled to a common size (`same_size`).

    Returns: one loss per image.

    Raises: UserError, as `same_size`.
    """
    maps = [unit(jnp.square(x).sum(-1).reshape(len(x), -1)) for x in same_size(student, teacher)]
    return jnp.square(maps[0] - maps[1]).mean(1)


def similarity(
    student: Float[Array, " b *rest"], teacher: Float[Array, " b *rest2"], own: Int[Array, " n"]
) -> Float[Array, " n"]:
    """Returns the mean squared difference of the similarities of each image to the batch (arXiv 1907.09682).

    Similarities are rows of the Gram matrix, divided by their norms. The mean of the losses over the batch is the
    paper's ||.||_F^2 / b^2, which it multiplies by 3000.

    Args:
        student: features of the student for all b images of the batch.
        teacher: features of the teacher for the same images.
        own: indices in 0..b-1 of the n images whose losses are wanted, such as those of this device.

    Returns: one loss for each image of `own`.
    """
    rows = [unit(x[own] @ x.T) for x in map(_flat, (student, teacher))]
    return jnp.square(rows[0] - rows[1]).mean(1)


def distance(
    student: Float[Array, " b *rest"], teacher: Float[Array, " b *rest2"], own: Int[Array, " n"]
) -> Float[Array, " n"]:
    """Returns the Huber loss of the distances of each image to the batch (RKD, arXiv 1904.05068, factor 25).

    Distances are in units of the mean distance between two images. The mean is over all b images, as in the authors'
    code.

    Args:
        student: as in `similarity`.
        teacher: as in `similarity`.
        own: as in `similarity`.

    Returns: one loss for each image of `own`.
    """
    return _huber(*(_distances(_flat(x))[own] for x in (student, teacher)))


def angle(
    student: Float[Array, " b *rest"], teacher: Float[Array, " b *rest2"], own: Int[Array, " n"]
) -> Float[Array, " n"]:
    """Returns the Huber loss of the cosines of the angles at each image (RKD, arXiv 1904.05068, factor 50).

    An angle is that between the directions to two images of the batch. The mean is over all b^2 pairs, as in the
    authors' code.

    Args:
        student: as in `similarity`.
        teacher: as in `similarity`.
        own: as in `similarity`.

    Returns: one loss for each image of `own`.
    """
    return _huber(*(_cosines(_flat(x), own) for x in (student, teacher)))


BATCH: dict[str, Callable[..., Array]] = {"similarity": similarity, "distance": distance, "angle": angle}
"""Losses on relations between the images of a batch: they need the features of the whole batch."""


def same_size(
    student: Float[Array, "b *hw c"], teacher: Float[Array, "b *hw2 d"]
) -> tuple[Float[Array, "b *hw3 c"], Float[Array, "b *hw3 d"]]:
    """Returns both feature maps, mean-pooled to the smaller height and the smaller width of the two.

    Args:
        student: features of the student: a feature map [b h w c], tokens [b n c] or vectors [b c].
        teacher: features of the teacher, with as many axes. Tokens must be as many; vectors are returned as they are.

    Returns: (student, teacher) of the same height and width.

    Raises: UserError if the numbers of axes or of tokens differ.
    """
    a, b = student.shape[1:-1], teacher.shape[1:-1]
    if len(a) != len(b) or (len(a) == 1 and a != b):
        raise UserError(
            f"features {list(student.shape)} and {list(teacher.shape)} have no common size; choose two feature "
            "maps, or tokens of one length"
        )
    if len(a) != 2:
        return student, teacher
    size = (min(a[0], b[0]), min(a[1], b[1]))
    return _pooled(student, size), _pooled(teacher, size)


def _pooled(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    """Returns means over `size` tiles, which overlap if it does not divide the pixels (torch's adaptive pooling)."""
    down, across = (jnp.asarray(_tiles(n, m), x.dtype) for n, m in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum("ih,jw,bhwc->bijc", down, across, x) if size != x.shape[1:3] else x


def _tiles(n: int, m: int) -> Float[np.ndarray, "m n"]:
    """Returns the weights of n pixels in the means of m tiles."""
    first, last = np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)
    inside = (np.arange(n) >= first[:, None]) & (np.arange(n) < last[:, None])
    weights: np.ndarray = inside / inside.sum(1, keepdims=True)
    return weights


def _distances(x: Float[Array, "b d"]) -> Float[Array, "b b"]:
    distances = _norm(x[:, None] - x)[..., 0]  # by a Gram matrix, the distance of an image to itself would not be 0
    pairs = jnp.maximum((distances > 0.0).sum(), 1).astype(x.dtype)
    mean = distances.sum() / pairs
    return distances / jnp.where(mean > 0.0, mean, 1.0)


def _cosines(x: Float[Array, "b d"], own: Int[Array, " n"]) -> Float[Array, "n b b"]:
    directions = unit(x - x[own][:, None])
    return directions @ directions.swapaxes(1, 2)


def _norm(x: Float[Array, "*b d"]) -> Float[Array, "*b 1"]:
    """Returns the norm over the last axis, with gradient 0 where it is 0.

    The gradient of the square root of 0 is infinite, and a `where` only after the root would give 0 x inf = NaN.
    """
    square = jnp.square(x).sum(-1, keepdims=True)
    return jnp.where(square > 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)), 0.0)


def unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """Returns vectors of length 1; a vector of zeros stays, with gradient 0.

    Args:
        x: vectors on the last axis.
    """
    norm = _norm(x)
    return x / jnp.where(norm > 0.0, norm, 1.0)


def _huber(student: Float[Array, " n *rest"], teacher: Float[Array, " n *rest"]) -> Float[Array, " n"]:
    return _mean(optax.huber_loss(student, teacher))


def _mean(x: Float[Array, " b *rest"]) -> Float[Array, " b"]:
    return _flat(x).mean(1)


def _flat(x: Float[Array, " b *rest"]) -> Float[Array, "b d"]:
    return x.reshape(len(x), -1).astype(jnp.float32)
