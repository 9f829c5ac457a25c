"""Merges boxes by averaging clusters of them: non-maximum weighted and Weighted Box Fusion; shapes as in `boxes`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.detection.boxes import Detections, flat, founders, intersection_over_union, nms, ranked, soft_nms
from efficient_jax.errors import UserError
from efficient_jax.settings import choose


@jax.jit
def non_maximum_weighted(detections: Detections, weights: Float[Array, " models"], iou: float = 0.5) -> Detections:
    """NMS whose kept boxes are means of the boxes that they suppress (Zhou et al., CAD, ICCV workshops 2017).

    A suppressed box contributes to the kept box that it overlaps most, weighted by its score times that IoU. The scores
    are those of NMS.

    Args:
        detections: the boxes of one image, [models n ...].
        weights: weight of each model, greater than 0.
        iou: IoU in 0..1 above which the box of the lower score is suppressed.

    Returns:
        Detections [models * n ...], by descending score.
    """
    boxes = flat(detections, weights)
    n = len(boxes["scores"])
    founder = founders(boxes, jnp.float32(iou), False)
    kept = boxes["boxes"].at[founder].get(mode="clip")
    contribution = boxes["scores"] * intersection_over_union(boxes["boxes"].T, kept.T)
    return ranked(boxes | {"boxes": mean(boxes, contribution, founder), "valid": founder == jnp.arange(n)})


CONFIDENCES = {
    # Sums over a cluster, in units of the largest weight. scores: weight times score; weights: weights of the boxes;
    # present: weights of the models with a box in the cluster; all: weights of all models.
    "average": lambda c: c["scores"] / c["boxes"] * jnp.minimum(c["boxes"], c["models"]) / c["all"],
    "box_and_model": lambda c: c["scores"] / c["weights"] * c["present"] / c["all"],
    "absent_aware": lambda c: c["scores"] / (c["weights"] + c["all"] - c["present"]),
    "max": lambda c: c["max"],
}


@functools.partial(jax.jit, static_argnames="confidence")
def weighted_box_fusion(
    detections: Detections, weights: Float[Array, " models"], iou: float = 0.55, confidence: str = "average"
) -> Detections:
    """Weighted Box Fusion (arXiv 1910.13302): replaces a cluster of boxes by their mean, weighted by weight x score.

    The score of a cluster is in 0..1. For boxes with the weights w, `confidence` means (in quotes the `conf_type` of
    the package ensemble-boxes that gives the same):

    average        "avg": mean of w * score, times min(boxes, models) / sum of all models' w, so that a box predicted by
                   one model only scores less. Several boxes of a model with a large weight give more than 1 in
                   ensemble-boxes; here the score is limited to 1.
    box_and_model  "box_and_model_avg": sum of w * score / sum of w, times the w of the cluster's models / all models'
    w;
                   never above the best score, so the one to use where models detect an object twice
    absent_aware   "absent_model_aware_avg": sum of w * score / (sum of w + w of the models without a box in the
    cluster) max            "max": the largest w * score / the largest w

    Args:
        detections: the boxes of one image, [models n ...].
        weights: weight of each model, greater than 0.
        iou: IoU in 0..1 with the mean box of a cluster above which a box joins the cluster.
        confidence: how the score of a cluster is computed.

    Returns:
        Detections [models * n ...], by descending score.

    Raises:
        UserError: `confidence` is unknown.
    """
    if confidence not in CONFIDENCES:
        raise UserError(f"confidence: {confidence!r} is none of {', '.join(CONFIDENCES)}")
    boxes = flat(detections, weights)
    n, models = len(boxes["scores"]), len(weights)
    relative = weights / weights.max()
    founder = founders(boxes, jnp.float32(iou), True)
    model = jnp.arange(n) // (n // models)
    votes = jax.ops.segment_max(jax.nn.one_hot(model, models), founder, n)
    cluster = {
        "scores": jax.ops.segment_sum(boxes["scores"], founder, n),
        "max": jax.ops.segment_max(boxes["scores"], founder, n),
        "weights": jax.ops.segment_sum(relative[model], founder, n),
        "boxes": jax.ops.segment_sum(jnp.ones(n), founder, n),
        "present": jnp.where(votes > 0.0, relative, 0.0).sum(1),
        "all": relative.sum(),
        "models": jnp.float32(models),
    }
    scores = jnp.minimum(CONFIDENCES[confidence](cluster), 1.0)  # rounding can exceed 1 in the other modes too
    fused = boxes | {
        "boxes": mean(boxes, boxes["scores"], founder),
        "scores": scores,
        "valid": founder == jnp.arange(n),
    }
    return ranked(fused)


FUSIONS: dict[str, Callable[..., Any]] = {
    "nms": nms,
    "soft_nms": soft_nms,
    "nmw": non_maximum_weighted,
    "wbf": weighted_box_fusion,
}
MODES: dict[str, tuple[str, Sequence[str]]] = {
    "soft_nms": ("decay", ("gaussian", "linear")),
    "wbf": ("confidence", tuple(CONFIDENCES)),
}
"""Fusion -> the argument that is given after a colon, and its values."""


def fusion_of(fuse: str, iou: str, where: str) -> Callable[..., Any]:
    """Returns the function that merges the boxes of several detectors.

    Args:
        fuse: a name of `FUSIONS`; after a colon one of its `MODES`.
        iou: IoU from which on boxes are the same object, 0 to below 1; "": the default of the fusion.
        where: the flag that names the fusion, for messages.

    Raises: UserError for an unknown name or mode, and for a threshold out of range.
    """
    name, _, mode = fuse.partition(":")
    how = choose(name, FUSIONS, where)
    if mode:
        if name not in MODES:
            raise UserError(f"{where}: {name!r} has no modes; those with one are {', '.join(MODES)}")
        argument, modes = MODES[name]
        how = functools.partial(
            how, **{argument: choose(mode, dict(zip(modes, modes, strict=True)), f"{where}={name}")}
        )
    if not iou:
        return how
    if name == "soft_nms" and mode != "linear":
        raise UserError("--iou: the gaussian of soft_nms has no threshold; soft_nms:linear has one")
    try:
        threshold = float(iou)
    except ValueError:
        threshold = -1.0
    if not 0.0 <= threshold < 1.0:
        raise UserError(f"--iou: {iou!r}; want a number from 0 to below 1")
    return functools.partial(how, iou=threshold)


def mean(boxes: Detections, weights: Float[Array, " n"], founder: Array) -> Float[Array, "n 4"]:
    """Returns the weighted mean box of each cluster, at the index of its founder.

    Args:
        boxes: flat detections, [n ...].
        weights: weight of each box in the mean, 0.0 and above.
        founder: index of the founder of each box's cluster, int32 [n]; n for invalid boxes.

    Returns:
        Boxes float [n 4]; the box itself where no box of the cluster has a weight.
    """
    n = len(weights)
    total = jax.ops.segment_sum(weights, founder, n)[:, None]
    sums = jax.ops.segment_sum(weights[:, None] * boxes["boxes"], founder, n)
    return jnp.where(total > 0.0, sums / jnp.where(total > 0.0, total, 1.0), boxes["boxes"])
