"""Boxes of one or several detectors into one set: NMS, Soft-NMS, non-maximum weighted, Weighted Box Fusion.

Pure functions of `Detections` of one image, for `jit` and `vmap`: what comes in is [models n ...], what goes out
[models * n ...], the best score first, with `valid` for what is a box. Of equal scores the first in the order of models
and boxes goes first. Classes do not touch each other; for suppression across classes give all boxes one label.
`detections.combine` takes numpy arrays of any lengths.

`weights` says how far each model is trusted; only their ratios matter.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from efficient_jax.types import UserError

Detections = dict[str, Array]
"""What detectors found in one image:

boxes   float32 [models n 4], (left, top, right, bottom) in any unit: edges, so that right - left is the width
scores  float32 [models n], 0..1
labels  int32 [models n], any numbers
valid   bool [models n], False where there is no box, since arrays keep their size
"""

LANES = 128  # boxes that are compared at once: few enough that a class with few boxes wastes little


def intersection_over_union(a: Float[Any, "4 ..."], b: Float[Any, "4 ..."]) -> Float[Any, "..."]:
    """Intersection over union of boxes, numpy's or JAX's, the four edges first; 0 where both are empty."""
    xp = a.__array_namespace__()
    width = xp.maximum(xp.minimum(a[2], b[2]) - xp.maximum(a[0], b[0]), 0.0)
    height = xp.maximum(xp.minimum(a[3], b[3]) - xp.maximum(a[1], b[1]), 0.0)
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / xp.maximum(union, xp.finfo(union.dtype).tiny)


def flat(found: Detections, weights: Float[Array, "models"]) -> Detections:
    """All models' boxes in one row, scores in proportion to weights; the greatest weight leaves a score as it is."""
    scores = found["scores"] * (weights / weights.max())[:, None]
    return {name: values.reshape(-1, *values.shape[2:]) for name, values in (found | {"scores": scores}).items()}


def ranked(found: Detections) -> Detections:
    order = jnp.lexsort((-found["scores"], ~found["valid"]))
    valid = found["valid"][order]
    return {
        name: jnp.where(valid.reshape(-1, *[1] * (values.ndim - 1)), values[order], jnp.zeros((), values.dtype))
        for name, values in found.items()
    }


def search(first: Array, last: Array, value: Callable[..., Any], carry: Any, floor: Array) -> tuple[Any, Array, Array]:
    """The greatest of `value` over first <= i < last, of equal ones the first: (carry, greatest, i).

    `value(at, inside, carry) -> (values [LANES], carry)` for at, at + 1, ...; nothing at or below `floor` counts.
    A block keeps a maximum for each lane: maxima within a block would be loops over scalars on a CPU.
    """
    lane = lax.iota(jnp.int32, LANES)

    def look(k: Array, state: tuple) -> tuple:
        carry, most, block = state
        at = first + k * LANES
        values, carry = value(at, at + lane < last, carry)
        return carry, jnp.maximum(most, values), jnp.where(values > most, k, block)

    start = carry, jnp.full(LANES, floor), jnp.zeros(LANES, jnp.int32)
    carry, most, block = lax.fori_loop(0, (last - first + LANES - 1) // LANES, look, start)
    where = jnp.where(most == most.max(), first + block * LANES + lane, jnp.iinfo(jnp.int32).max)
    return carry, most.max(), where.min()


def founders(found: Detections, threshold: Array, fused: bool) -> Int[Array, "n"]:
    """The index of the box that founded each box's cluster, n where there is no box; a founder has its own index.

    Class by class, the best score first, a box joins the cluster that it overlaps most, by more than `threshold`, or
    founds one. A cluster lies where its founder is, or where the score-weighted mean of its boxes is: `fused`.
    Clusters of a class are neighbours in memory, so the work is boxes x clusters of their class, the memory that of
    the boxes.
    """
    n = len(found["scores"])
    order = jnp.lexsort((-found["scores"], found["labels"], ~found["valid"]))
    boxes, scores, labels = (found[name][order] for name in ("boxes", "scores", "labels"))
    other = jnp.append(True, labels[1:] != labels[:-1])

    def place(i: Array, state: tuple) -> tuple:
        places, sums, joined, first, count = state
        first, box = jnp.where(other[i], count, first), boxes[i]

        def overlap(at: Array, inside: Array, carry: None) -> tuple[Array, None]:
            block = lax.dynamic_slice(places, (0, at), (4, LANES))
            return jnp.where(inside, intersection_over_union(block, box[:, None]), 0.0), carry

        _, most, which = search(first, count, overlap, None, threshold)
        joins = most > threshold
        cluster = jnp.where(joins, which, count)
        if fused:
            # added before it is read, or XLA would copy the whole array in every step
            sums = sums.at[cluster].add(scores[i] * jnp.append(box, 1.0))
            total = sums[cluster]
            box = jnp.where(joins & (total[4] > 0.0), total[:4] / total[4], box)
            places = lax.dynamic_update_slice(places, box[:, None], (0, cluster))
        else:  # out of the way where the box founds nothing
            places = lax.dynamic_update_slice(places, box[:, None], (0, jnp.where(joins, n + LANES, cluster)))
        return places, sums, joined.at[i].set(cluster), first, count + (~joins).astype(jnp.int32)

    zero = jnp.int32(0)
    start = jnp.zeros((4, n + LANES + 1)), jnp.zeros((n, 5)), jnp.full(n, n, jnp.int32), zero, zero
    joined = lax.fori_loop(0, found["valid"].sum(dtype=jnp.int32), place, start)[2]
    rank = jax.ops.segment_min(lax.iota(jnp.int32, n), joined, n)  # a cluster's founder came first
    founder = order.astype(jnp.int32)[rank.at[joined].get(mode="fill", fill_value=0)]
    return jnp.zeros(n, jnp.int32).at[order].set(jnp.where(joined < n, founder, n))


@jax.jit
def nms(found: Detections, weights: Float[Array, "models"], iou: float = 0.5) -> Detections:
    """Drops what overlaps a better box of its class by more than `iou`, that box itself not dropped."""
    row = flat(found, weights)
    return ranked(row | {"valid": founders(row, jnp.float32(iou), False) == jnp.arange(len(row["scores"]))})


@functools.partial(jax.jit, static_argnames="decay")
def soft_nms(
    found: Detections,
    weights: Float[Array, "models"],
    decay: str = "gaussian",
    iou: float = 0.3,
    sigma: float = 0.5,
    minimum_score: float = 0.001,
) -> Detections:
    """Soft-NMS (arXiv 1704.04503): the best box of a class lowers the scores of the others, then the next best does.

    `decay`: linear, times 1 - overlap where that is more than `iou`, or gaussian, times exp(-overlap^2 / sigma)
    everywhere. The scores are the lowered ones; what falls below `minimum_score` is dropped.
    """
    factors = {
        "linear": lambda overlap: jnp.where(overlap > iou, 1.0 - overlap, 1.0),
        "gaussian": lambda overlap: jnp.exp(-(overlap**2) / sigma),
    }
    if decay not in factors:
        raise UserError(f"decay: {decay!r} is none of {', '.join(factors)}")
    return ranked(lowered(flat(found, weights), factors[decay], minimum_score))


def lowered(row: Detections, factor: Callable[[Array], Array], minimum_score: float) -> Detections:
    """Each box with the score that it had when it was the best of those left in its class."""
    n = len(row["scores"])
    order = jnp.lexsort((row["labels"], ~row["valid"]))  # stable: within a class as they came
    labels, scores, valid = (row[name][order] for name in ("labels", "scores", "valid"))
    edges = jnp.pad(row["boxes"][order].T, ((0, 0), (0, LANES)))
    other = jnp.append(True, (labels[1:] != labels[:-1]) | (valid[1:] != valid[:-1]))
    position = lax.iota(jnp.int32, n)
    firsts = lax.cummax(jnp.where(other, position, 0))
    lasts = lax.cummin(jnp.append(jnp.where(other, position, n), n)[1:], reverse=True)
    best = jnp.lexsort((-scores, labels, ~valid)).astype(jnp.int32)  # at the first of a class: its best

    def pick(i: Array, state: tuple) -> tuple:
        left, final, which = state
        which = jnp.where(other[i], best[i], which)
        score, box = left[which], lax.dynamic_slice(edges, (0, which), (4, 1))

        def lower(at: Array, inside: Array, left: Array) -> tuple[Array, Array]:
            block = lax.dynamic_slice(left, (at,), (LANES,))
            overlap = intersection_over_union(lax.dynamic_slice(edges, (0, at), (4, LANES)), box)
            taken = (block < 0.0) | (at + lax.iota(jnp.int32, LANES) == which)
            block = jnp.where(inside, jnp.where(taken, -1.0, block * factor(overlap)), block)
            return jnp.where(inside, block, -1.0), lax.dynamic_update_slice(left, block, (at,))

        # once the best is below the minimum, so are all the others
        last = jnp.where(score >= minimum_score, lasts[i], firsts[i])
        left, _, following = search(firsts[i], last, lower, left, jnp.float32(-1.0))
        return left, final.at[which].max(score), jnp.where(last > firsts[i], following, which)

    start = jnp.pad(scores, (0, LANES)), jnp.full(n, -1.0), jnp.int32(0)
    final = lax.fori_loop(0, valid.sum(dtype=jnp.int32), pick, start)[1]
    final = jnp.zeros(n).at[order].set(final)
    return row | {"scores": final, "valid": row["valid"] & (final >= minimum_score) & (final >= 0.0)}
