"""Clusters of boxes that become one box each: non-maximum weighted and Weighted Box Fusion. See `boxes`."""

import functools

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.detection.boxes import Detections, flat, founders, intersection_over_union, ranked
from efficient_jax.types import UserError


@jax.jit
def non_maximum_weighted(found: Detections, weights: Float[Array, "models"], iou: float = 0.5) -> Detections:
    """NMS whose boxes are means of what they suppress (Zhou et al., CAD, ICCV workshops 2017).

    A suppressed box counts for the kept one that it overlaps most, with its score times that overlap; the scores are
    those of NMS.
    """
    row = flat(found, weights)
    n = len(row["scores"])
    founder = founders(row, jnp.float32(iou), False)
    best = row["boxes"].at[founder].get(mode="clip")
    share = row["scores"] * intersection_over_union(row["boxes"].T, best.T)
    return ranked(row | {"boxes": mean(row, share, founder), "valid": founder == jnp.arange(n)})


CONFIDENCES = {
    # of a cluster, all in units of the greatest weight. scores: sum of weight times score; weights: of the boxes'
    # weights; present: of the weights of the models that have a box; all: of all models' weights
    "average": lambda c: c["scores"] / c["boxes"] * jnp.minimum(c["boxes"], c["models"]) / c["all"],
    "box_and_model": lambda c: c["scores"] / c["weights"] * c["present"] / c["all"],
    "absent_aware": lambda c: c["scores"] / (c["weights"] + c["all"] - c["present"]),
    "max": lambda c: c["max"],
}


@functools.partial(jax.jit, static_argnames="confidence")
def weighted_box_fusion(
    found: Detections, weights: Float[Array, "models"], iou: float = 0.55, confidence: str = "average"
) -> Detections:
    """Weighted Box Fusion (arXiv 1910.13302): each cluster becomes the mean of its boxes by weight times score.

    `confidence`, the score of a cluster of boxes with the weights w, in 0..1, and the `conf_type` of the package
    ensemble-boxes that gives the same:
    average        "avg": mean of w * score, times min(boxes, models) / sum of all models' w: a box that one model
                   found alone is worth less. Several boxes of a model with a large weight make more than 1 of it in
                   ensemble-boxes; here 1 is the most.
    box_and_model  "box_and_model_avg": sum of w * score / sum of w, times the w of the cluster's models / all
                   models' w; never above the best score, so the one to take where models find an object twice
    absent_aware   "absent_model_aware_avg": sum of w * score / (sum of w + w of the models that have no box in the
                   cluster)
    max            "max": the greatest w * score / the greatest w
    """
    if confidence not in CONFIDENCES:
        raise UserError(f"confidence: {confidence!r} is none of {', '.join(CONFIDENCES)}")
    row = flat(found, weights)
    n, models = len(row["scores"]), len(weights)
    w = weights / weights.max()
    founder = founders(row, jnp.float32(iou), True)
    model = jnp.arange(n) // (n // models)
    has = jax.ops.segment_max(jax.nn.one_hot(model, models), founder, n)
    cluster = {
        "scores": jax.ops.segment_sum(row["scores"], founder, n),
        "max": jax.ops.segment_max(row["scores"], founder, n),
        "weights": jax.ops.segment_sum(w[model], founder, n),
        "boxes": jax.ops.segment_sum(jnp.ones(n), founder, n),
        "present": jnp.where(has > 0.0, w, 0.0).sum(1),
        "all": w.sum(),
        "models": jnp.float32(models),
    }
    scores = jnp.minimum(CONFIDENCES[confidence](cluster), 1.0)  # rounding makes more than 1 of the other modes too
    fused = row | {"boxes": mean(row, row["scores"], founder), "scores": scores, "valid": founder == jnp.arange(n)}
    return ranked(fused)


def mean(row: Detections, share: Float[Array, "n"], founder: Array) -> Float[Array, "n 4"]:
    """Each cluster's mean box, at its founder; the founder itself where nothing has a share."""
    n = len(share)
    total = jax.ops.segment_sum(share, founder, n)[:, None]
    sums = jax.ops.segment_sum(share[:, None] * row["boxes"], founder, n)
    return jnp.where(total > 0.0, sums / jnp.where(total > 0.0, total, 1.0), row["boxes"])
