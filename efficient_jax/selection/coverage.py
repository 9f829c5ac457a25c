"""Chooses images that cover the pool: every image should be near one that is labelled (MaxHerding, UHerding).

The coverage of image i is c_i = max k(i, j) over the labelled images j, with k(i, j) = exp(-|x_i - x_j|^2 / width^2) of
unit vectors x. Each step chooses the image that raises the sum of u_i c_i over the pool the most, with u_i = 1
(`coverage`) or the uncertainty of image i (`uncertainty_coverage`). Coverage is submodular: what an image adds never
grows, so that its gain of an earlier step bounds it, and only images whose bound reaches the best gain are evaluated
anew. That changes no choice.

Up to `pool.EXACT` images this is the plain greedy choice. Of more, distances are those between principal components
(`pool.points`) and the sum is over `pool.EXACT` images of the pool, drawn at random; every image can still be chosen.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits

from efficient_jax.data.decode import CORES
from efficient_jax.errors import UserError
from efficient_jax.selection import pool
from efficient_jax.selection.pool import Indices
from efficient_jax.selection.uncertainty import margin

BLOCK = 512  # images whose gains are computed together, in parts of `PART` on each core
PART = 64
TIE = 1e-6  # gains that differ relatively by less are equal: rounding; the lower index is chosen
SAMPLE = 1000  # images whose distances give the width of the kernel
LEAST_WIDTH = 0.1  # of the median distance: two labelled copies would make a kernel in which nothing covers anything
SURE = 0.5  # of the mean uncertainty: less uncertain images are chosen last

Gains = Callable[[Int[np.ndarray, " m"]], Float[np.ndarray, " m"]]


def coverage(
    features: Float[np.ndarray, "n d"], count: int, labelled: Indices = (), seed: int = 0
) -> Int[np.ndarray, " count"]:
    """Returns the images that cover the pool best, in order of choice: MaxHerding (arXiv 2407.12212). No model is used.

    The first k of them are the choice for a count of k.

    Args:
        features: one vector per image, compared by direction, float [n d].
        count: number of images to choose, 1 or more.
        labelled: indices of the labelled images, which cover the pool already and are not chosen.
        seed: of the random subsets of large pools, 0 or more.

    Returns: int32 [count] indices; of equally good images the one with the lower index comes first.

    Raises: UserError where fewer images are left, and for features that are not finite.
    """
    return _chosen(features, np.ones(len(features)), count, labelled, seed)


def uncertainty_coverage(
    features: Float[np.ndarray, "n d"],
    probabilities: Float[np.ndarray, "n classes"],
    count: int,
    labelled: Indices = (),
    seed: int = 0,
) -> Int[np.ndarray, " count"]:
    """Returns the images that cover what a model is uncertain about, in order of choice: UHerding (arXiv 2412.20644).

    Images are weighted by 1 minus the margin of the probabilities, which should be calibrated, for example by
    `metrics.calibration.tempered`. Unlike in the paper, images that the model is sure of (whose uncertainty is below
    half of the mean) are chosen only when no others are left, even where they would cover uncertain ones. The first k
    images are the choice for a count of k.

    Args:
        features: one vector per image, compared by direction, float [n d].
        probabilities: of the classes of each image, in 0..1 with sum 1, float [n classes].
        count: number of images to choose, 1 or more.
        labelled: indices of the labelled images, which cover the pool already and are not chosen.
        seed: of the random subsets of large pools, 0 or more.

    Returns: int32 [count] indices; of equally good images the one with the lower index comes first.

    Raises: UserError where fewer images are left, and for features or probabilities that are not finite.
    """
    return _chosen(features, margin(pool.finite(probabilities, "probabilities")[None]), count, labelled, seed)


def width(points: Float[np.ndarray, "n d"], labelled: Indices = (), seed: int = 0) -> float:
    """Returns the width of the kernel: the smallest distance between labelled images, or the median of the pool.

    It shrinks as labels arrive, from covering the pool roughly to telling neighbours apart (arXiv 2412.20644, 3.3).

    Args:
        points: of the images, as `pool.points` returns them.
        labelled: indices of the labelled images; with fewer than two it is the median distance.
        seed: of the images whose distances are computed, at most 1,000 of both kinds, 0 or more.

    Returns: a distance above 0, at least a tenth of the median.
    """
    rows = pool.sampled(np.arange(len(points)), SAMPLE, seed)
    distances = _distances(points[rows])
    if not len(distances):  # all images are copies
        return 1.0
    median = float(np.median(distances))
    known = _distances(points[pool.sampled(np.unique(np.asarray(labelled, np.int64)), SAMPLE, seed)])
    return max(float(known.min()), LEAST_WIDTH * median) if len(known) else median


def shares(
    features: Float[np.ndarray, "n d"], chosen: Indices, labelled: Indices = (), seed: int = 0
) -> Float[np.ndarray, " count"]:
    """Returns the share of the unlabelled images that are nearer to each chosen image than to any other of them or a
    labelled image.

    Args:
        features: one vector per image, compared by direction, float [n d].
        chosen: indices of the chosen images.
        labelled: indices of the labelled images.
        seed: as for `coverage`.

    Returns: float [count] in 0..1; the rest is nearer to labelled images. Where several are equally near, it counts for
        the first.

    Raises: UserError for features that are not finite.
    """
    points = pool.points(features, seed)
    centres = points[np.concatenate([np.asarray(chosen, np.int64), np.asarray(labelled, np.int64)])]
    rest = np.flatnonzero(pool.candidates(len(points), 1, labelled))
    offsets = np.square(centres).sum(1) / 2
    nearest = [(points[rest[i : i + BLOCK]] @ centres.T - offsets).argmax(1) for i in range(0, len(rest), BLOCK)]
    counts = np.bincount(np.concatenate(nearest), minlength=len(centres))[: len(chosen)]
    fractions: np.ndarray = counts / len(rest)
    return fractions


def _chosen(
    features: np.ndarray, uncertainty: np.ndarray, count: int, labelled: Indices, seed: int
) -> Int[np.ndarray, " count"]:
    free = pool.candidates(len(features), count, labelled)
    if len(uncertainty) != len(features):
        raise UserError(f"probabilities: of {len(uncertainty)} images, but features of {len(features)}; want the same")
    points = pool.points(features, seed)
    unlabelled = np.flatnonzero(free)
    scale = 1 / width(points, labelled, seed) ** 2
    references = pool.sampled(unlabelled, pool.EXACT, seed)
    weights = uncertainty[references].astype(np.float32)
    weights = weights if weights.any() else np.ones_like(weights)  # a model that is sure of everything
    # -scale |x - y|^2 as one product: 2 scale x.y - scale |x|^2 - scale |y|^2.
    squares = np.square(points).sum(1, keepdims=True)
    left = np.concatenate([2 * scale * points, -scale * squares, np.full_like(squares, -scale)], 1, dtype=np.float32)
    right = np.concatenate([points, np.ones_like(squares), squares], 1)[references].T.copy()
    covered = np.zeros(len(references), np.float32)
    with threadpool_limits(1), ThreadPoolExecutor(CORES) as threads:

        def cover(parts: np.ndarray) -> np.ndarray:
            most: np.ndarray = np.exp(left[parts] @ right).max(0)
            return most

        def gain(part: np.ndarray) -> np.ndarray:
            kernel: np.ndarray = left[part] @ right
            np.exp(kernel, out=kernel)
            kernel -= covered
            sums: np.ndarray = np.maximum(kernel, 0, out=kernel) @ weights
            return sums

        def gains(rows: np.ndarray) -> np.ndarray:
            return np.concatenate([*threads.map(gain, _parts(rows))])

        for part in threads.map(cover, _parts(np.flatnonzero(~free))):
            np.maximum(covered, part, out=covered)
        sure = uncertainty < SURE * uncertainty[unlabelled].mean()
        chosen: list[int] = []
        for group in (unlabelled[~sure[unlabelled]], unlabelled[sure[unlabelled]]):
            for index in _greedy(group, gains, min(count - len(chosen), len(group))):
                chosen.append(index)
                np.maximum(covered, cover(np.array([index])), out=covered)
    return np.array(chosen, np.int32)


def _greedy(group: Int[np.ndarray, " n"], gains: Gains, count: int) -> Iterator[int]:
    """Yields the image of a group with the highest gain, `count` times; gains may shrink in between, but never grow."""
    bounds = np.full(len(group), np.inf)
    for chosen in range(count):  # which have the lowest bounds
        order = np.argsort(-bounds, kind="stable")[: len(bounds) - chosen]
        best, seen = -np.inf, 0
        while seen < len(order) and bounds[order[seen]] >= best * (1 - TIE):
            block = order[seen : seen + BLOCK]
            bounds[block] = gains(group[block])
            best = max(best, bounds[block].max())
            seen += BLOCK
        winner = order[:seen][bounds[order[:seen]] >= best * (1 - TIE)].min()
        yield int(group[winner])
        bounds[winner] = -1.0


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + PART] for i in range(0, len(rows), PART)]


def _distances(points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " pairs"]:
    """Returns the distances of all pairs that are not 0."""
    squares = np.square(points, dtype=np.float64).sum(1)
    nonzero = []
    for i in range(0, len(points), BLOCK):
        part = points[i : i + BLOCK].astype(np.float64)
        squared = squares[i : i + BLOCK, None] + squares - 2 * part @ points.T
        upper = np.triu(squared, i + 1)
        nonzero.append(upper[upper > 1e-9])
    distances: np.ndarray = np.sqrt(np.concatenate([np.zeros(0), *nonzero]))
    return distances
