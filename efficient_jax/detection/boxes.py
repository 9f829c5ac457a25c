"""Merges the boxes of one or several detectors by non-maximum suppression: NMS and Soft-NMS.

Pure functions of the `Detections` of one image, for `jit` and `vmap`. The input has shape [models n ...], the output
[models * n ...], sorted by descending score, with `valid` False for padding. Boxes of equal score keep the order of
models and boxes. Boxes of different classes do not interact; for suppression across classes give all boxes one label.
`fusion` has the methods that average boxes; `detections.combine` takes numpy arrays of any lengths.

Only the ratios of the models' `weights` matter.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from efficient_jax.errors import UserError

Detections = dict[str, Array]
"""The boxes that detectors predict for one image:

boxes   float32 [models n 4], (left, top, right, bottom) in any unit: edges, so that right - left is the width
scores  float32 [models n], 0..1
labels  int32 [models n], any numbers
valid   bool [models n], False where there is no box, since arrays keep their size
"""

LANES = 128  # boxes compared at once: few enough that a class with few boxes wastes little work


def intersection_over_union(a: Float[Any, "4 ..."], b: Float[Any, "4 ..."]) -> Float[Any, " ..."]:
    """Returns the intersection over union of pairs of boxes, of numpy or JAX arrays.

    Args:
        a: boxes (left, top, right, bottom) along the first axis, float [4 ...] in any unit.
        b: boxes of the same layout, broadcast against `a`.

    Returns:
        IoU in 0..1, float [...]; 0.0 where both boxes are empty.
    """
    xp = a.__array_namespace__()
    width = xp.maximum(xp.minimum(a[2], b[2]) - xp.maximum(a[0], b[0]), 0.0)
    height = xp.maximum(xp.minimum(a[3], b[3]) - xp.maximum(a[1], b[1]), 0.0)
    intersection = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return intersection / xp.maximum(union, xp.finfo(union.dtype).tiny)


def flat(detections: Detections, weights: Float[Array, " models"]) -> Detections:
    """Returns the boxes of all models in one list, with their scores multiplied by the models' weights.

    Args:
        detections: the boxes of one image, [models n ...].
        weights: weight of each model, greater than 0; the largest leaves its model's scores unchanged.

    Returns:
        Detections [models * n ...].
    """
    scores = detections["scores"] * (weights / weights.max())[:, None]
    return {name: values.reshape(-1, *values.shape[2:]) for name, values in (detections | {"scores": scores}).items()}


def ranked(detections: Detections) -> Detections:
    """Sorts boxes by descending score, invalid boxes last, and sets every value of an invalid box to 0.

    Args:
        detections: flat detections, [n ...].

    Returns:
        The same detections in the new order, [n ...].
    """
    order = jnp.lexsort((-detections["scores"], ~detections["valid"]))
    valid = detections["valid"][order]
    return {
        name: jnp.where(valid.reshape(-1, *[1] * (values.ndim - 1)), values[order], jnp.zeros((), values.dtype))
        for name, values in detections.items()
    }


def search(first: Array, last: Array, value: Callable[..., Any], carry: Any, floor: Array) -> tuple[Any, Array, Array]:
    """Finds the maximum of `value` over the indices first <= i < last; of equal values the first wins.

    A block keeps one maximum per lane: a maximum within a block would be a loop over scalars on a CPU.

    Args:
        first: first index, int32 scalar.
        last: index after the last one, int32 scalar.
        value: `value(at, inside, carry) -> (values [LANES], carry)` for the indices at, at + 1, ...; `inside` is bool
            [LANES], False for indices from `last` on.
        carry: state that `value` reads and steps from block to block.
        floor: values at or below this do not count, float scalar.

    Returns:
        (carry, the maximum or `floor`, its index).
    """
    lane = lax.iota(jnp.int32, LANES)

    def scan_block(k: Array, state: tuple[Any, ...]) -> tuple[Any, ...]:
        carry, maxima, block = state
        at = first + k * LANES
        values, carry = value(at, at + lane < last, carry)
        return carry, jnp.maximum(maxima, values), jnp.where(values > maxima, k, block)

    start = carry, jnp.full(LANES, floor), jnp.zeros(LANES, jnp.int32)
    carry, maxima, block = lax.fori_loop(0, (last - first + LANES - 1) // LANES, scan_block, start)
    highest: int = jnp.iinfo(jnp.int32).max  # type: ignore[no-untyped-call]
    indices = jnp.where(maxima == maxima.max(), first + block * LANES + lane, highest)
    return carry, maxima.max(), indices.min()


def founders(detections: Detections, threshold: Array, fused: bool) -> Int[Array, " n"]:
    """Assigns boxes to clusters and returns the index of the founding box of each box's cluster.

    Class by class and by descending score, a box joins the cluster that it overlaps most, by more than `threshold`, or
    founds a new one. The clusters of a class are contiguous in memory, so the work is boxes x clusters of their class
    and the memory is proportional to the number of boxes.

    Args:
        detections: flat detections, [n ...].
        threshold: IoU in 0..1 above which a box joins a cluster, float scalar.
        fused: whether a cluster's position is the score-weighted mean of its boxes; otherwise it is that of its
            founder.

    Returns:
        Index of the founder of each box, int32 [n]: its own index for a founder, n for an invalid box.
    """
    n = len(detections["scores"])
    order = jnp.lexsort((-detections["scores"], detections["labels"], ~detections["valid"]))
    boxes, scores, labels = (detections[name][order] for name in ("boxes", "scores", "labels"))
    new_class = jnp.append(True, labels[1:] != labels[:-1])

    def assign(i: Array, state: tuple[Any, ...]) -> tuple[Any, ...]:
        positions, sums, cluster_of, first, count = state
        first, box = jnp.where(new_class[i], count, first), boxes[i]

        def overlap(at: Array, inside: Array, carry: None) -> tuple[Array, None]:
            block = lax.dynamic_slice(positions, (0, at), (4, LANES))
            return jnp.where(inside, intersection_over_union(block, box[:, None]), 0.0), carry

        _, overlap_max, nearest = search(first, count, overlap, None, threshold)
        joins = overlap_max > threshold
        cluster = jnp.where(joins, nearest, count)
        if fused:
            # Add before reading, otherwise XLA copies the whole array in every iteration.
            sums = sums.at[cluster].add(scores[i] * jnp.append(box, 1.0))
            total = sums[cluster]
            box = jnp.where(joins & (total[4] > 0.0), total[:4] / total[4], box)
            positions = lax.dynamic_update_slice(positions, box[:, None], (0, cluster))
        else:  # written behind the clusters where the box founds none
            positions = lax.dynamic_update_slice(positions, box[:, None], (0, jnp.where(joins, n + LANES, cluster)))
        return positions, sums, cluster_of.at[i].set(cluster), first, count + (~joins).astype(jnp.int32)

    zero = jnp.int32(0)
    start = jnp.zeros((4, n + LANES + 1)), jnp.zeros((n, 5)), jnp.full(n, n, jnp.int32), zero, zero
    cluster_of = lax.fori_loop(0, detections["valid"].sum(dtype=jnp.int32), assign, start)[2]
    rank = jax.ops.segment_min(lax.iota(jnp.int32, n), cluster_of, n)  # the founder is the first box of its cluster
    founder = order.astype(jnp.int32)[rank.at[cluster_of].get(mode="fill", fill_value=0)]
    return jnp.zeros(n, jnp.int32).at[order].set(jnp.where(cluster_of < n, founder, n))


@jax.jit
def nms(detections: Detections, weights: Float[Array, " models"], iou: float = 0.5) -> Detections:
    """Non-maximum suppression: drops boxes that overlap a kept box of their class and of higher score.

    Args:
        detections: the boxes of one image, [models n ...].
        weights: weight of each model, greater than 0.
        iou: IoU in 0..1 above which the box of the lower score is dropped.

    Returns:
        Detections [models * n ...], by descending score.
    """
    boxes = flat(detections, weights)
    return ranked(boxes | {"valid": founders(boxes, jnp.float32(iou), False) == jnp.arange(len(boxes["scores"]))})


@functools.partial(jax.jit, static_argnames="decay")
def soft_nms(
    detections: Detections,
    weights: Float[Array, " models"],
    decay: str = "gaussian",
    iou: float = 0.3,
    sigma: float = 0.5,
    minimum_score: float = 0.001,
) -> Detections:
    """Soft-NMS (arXiv 1704.04503): lowers the scores of boxes that overlap better boxes of their class.

    The best box of a class lowers the scores of the others, then the best of the remaining boxes does, and so on.

    Args:
        detections: the boxes of one image, [models n ...].
        weights: weight of each model, greater than 0.
        decay: "linear" multiplies a score by 1 - IoU where the IoU is above `iou`; "gaussian" multiplies every score by
            exp(-IoU^2 / sigma).
        iou: threshold of the linear decay, in 0..1.
        sigma: width of the gaussian decay, greater than 0.
        minimum_score: boxes whose lowered score is below this are dropped, in 0..1.

    Returns:
        Detections [models * n ...] with the lowered scores, by descending score.

    Raises:
        UserError: `decay` is unknown.
    """
    factors = {
        "linear": lambda overlap: jnp.where(overlap > iou, 1.0 - overlap, 1.0),
        "gaussian": lambda overlap: jnp.exp(-(overlap**2) / sigma),
    }
    if decay not in factors:
        raise UserError(f"decay: {decay!r} is none of {', '.join(factors)}")
    return ranked(lowered(flat(detections, weights), factors[decay], minimum_score))


def lowered(detections: Detections, factor: Callable[[Array], Array], minimum_score: float) -> Detections:
    """Returns flat detections with each score as lowered by the better boxes of its class.

    Args:
        detections: flat detections, [n ...].
        factor: factor of a score from the IoU with a better box, float [lanes] -> float [lanes].
        minimum_score: boxes whose lowered score is below this become invalid, in 0..1.

    Returns:
        Detections [n ...] in the same order, with the new `scores` and `valid`.
    """
    n = len(detections["scores"])
    order = jnp.lexsort((detections["labels"], ~detections["valid"]))  # stable: a class keeps its order
    labels, scores, valid = (detections[name][order] for name in ("labels", "scores", "valid"))
    edges = jnp.pad(detections["boxes"][order].T, ((0, 0), (0, LANES)))
    new_group = jnp.append(True, (labels[1:] != labels[:-1]) | (valid[1:] != valid[:-1]))
    position = lax.iota(jnp.int32, n)
    firsts = lax.cummax(jnp.where(new_group, position, 0))
    lasts = lax.cummin(jnp.append(jnp.where(new_group, position, n), n)[1:], reverse=True)
    best = jnp.lexsort((-scores, labels, ~valid)).astype(jnp.int32)  # the first of a class is its best box

    def pick(i: Array, state: tuple[Any, ...]) -> tuple[Any, ...]:
        remaining, final, current = state
        current = jnp.where(new_group[i], best[i], current)
        score, box = remaining[current], lax.dynamic_slice(edges, (0, current), (4, 1))

        def lower(at: Array, inside: Array, remaining: Array) -> tuple[Array, Array]:
            block = lax.dynamic_slice(remaining, (at,), (LANES,))
            overlap = intersection_over_union(lax.dynamic_slice(edges, (0, at), (4, LANES)), box)
            taken = (block < 0.0) | (at + lax.iota(jnp.int32, LANES) == current)
            block = jnp.where(inside, jnp.where(taken, -1.0, block * factor(overlap)), block)
            return jnp.where(inside, block, -1.0), lax.dynamic_update_slice(remaining, block, (at,))

        # Once the best score is below the minimum, all others are too: nothing to search.
        last = jnp.where(score >= minimum_score, lasts[i], firsts[i])
        remaining, _, next_best = search(firsts[i], last, lower, remaining, jnp.float32(-1.0))
        return remaining, final.at[current].max(score), jnp.where(last > firsts[i], next_best, current)

    start = jnp.pad(scores, (0, LANES)), jnp.full(n, -1.0), jnp.int32(0)
    final = lax.fori_loop(0, valid.sum(dtype=jnp.int32), pick, start)[1]
    final = jnp.zeros(n).at[order].set(final)
    return detections | {"scores": final, "valid": detections["valid"] & (final >= minimum_score) & (final >= 0.0)}
