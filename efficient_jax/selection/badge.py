"""Chooses images that a model is uncertain of and that differ, by the gradients of its last layer (BADGE)."""

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.selection import pool
from efficient_jax.selection.pool import Indices


def badge(
    features: Float[np.ndarray, "n d"],
    probabilities: Float[np.ndarray, "n classes"],
    count: int,
    labelled: Indices = (),
    seed: int = 0,
) -> Int[np.ndarray, " count"]:
    """Returns images drawn as k-means++ seeds clusters, in the space of gradients (arXiv 1906.03671).

    The gradient of the loss in the last layer, with the predicted class as the label, is the outer product of
    (probabilities - that class) and the features. Its norm is large for an uncertain image. The image with the largest
    one comes first; each further one is drawn with a probability proportional to its squared distance from the nearest
    one before. Outer products are never computed: their inner products are products of inner products.

    Args:
        features: input of the last layer of the model, float [n d].
        probabilities: of the classes of each image, in 0..1 with sum 1, float [n classes].
        count: number of images to choose, 1 or more.
        labelled: indices of the labelled images, which are not chosen.
        seed: of the draws, 0 or more.

    Returns: int32 [count] indices. The first k of them are the choice for a count of k.

    Raises: UserError where fewer images are left, and for features or probabilities that are not finite.
    """
    free = pool.candidates(len(features), count, labelled)
    rows = np.flatnonzero(free)
    x = pool.finite(features, "features")[rows].astype(np.float32)
    errors = pool.finite(probabilities, "probabilities")[rows].astype(np.float32)
    errors[np.arange(len(rows)), errors.argmax(1)] -= 1
    norms = np.square(x).sum(1, dtype=np.float64) * np.square(errors).sum(1, dtype=np.float64)
    rng = np.random.default_rng(seed)
    chosen = [int(norms.argmax())]
    distances = np.full(len(rows), np.inf)
    while len(chosen) < count:
        last = chosen[-1]
        products = (x @ x[last]).astype(np.float64) * (errors @ errors[last])
        distances = np.minimum(distances, np.maximum(norms + norms[last] - 2 * products, 0))
        distances[chosen] = 0
        if not distances.any():  # nothing but copies is left
            distances[:] = 1
            distances[chosen] = 0
        total = np.cumsum(distances)
        chosen.append(int(np.searchsorted(total, rng.random() * total[-1], side="right")))
    return rows[chosen].astype(np.int32)
