"""FCOS (arXiv 1904.01355): the loss of a detector's outputs, and the boxes that they mean.

Outputs are the logits of a network of `models.dense.dense_boxes`, float32 [b locations classes + 8]: for each location
the logits of the classes, the logit of the centerness, the distances to the left, top, right and bottom edge of the
box, and where the location is: x, y and the stride of its level, all in pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from efficient_jax.detection.boxes import Detections, intersection_over_union, nms
from efficient_jax.detection.targets import Locations, targets
from efficient_jax.errors import UserError
from efficient_jax.losses.boxes import generalized_iou, quality_focal, sigmoid_focal

Outputs = Float[Array, "b l outputs"]
BEHIND = 8  # numbers behind the class logits: centerness, four distances, x, y and stride


class Losses(NamedTuple):
    """The losses of each image, sums over its locations; a batch's loss is the sum of all / the sum of `weight`."""

    classes: Float[Array, " b"]  # focal loss of all locations
    boxes: Float[Array, " b"]  # 1 - generalized IoU of the locations with a box, times their centerness
    centerness: Float[Array, " b"]  # cross entropy of the centerness of the locations with a box
    weight: Float[Array, " b"]  # locations with a box; an image without any counts as one


class Answers(NamedTuple):
    """The parts of outputs."""

    logits: Float[Array, "b l classes"]
    centerness: Float[Array, "b l"]  # its logit
    distances: Float[Array, "b l 4"]  # to the left, top, right and bottom edge, in pixels
    locations: Locations


def losses(
    outputs: Outputs, boxes: Float[Array, "b n 4"], visible: Float[Array, "b n"], labels: Int[Array, "b n"]
) -> Losses:
    """Returns the losses of images.

    The box loss is divided by the number of locations, not by the sum of their centerness as in the authors' code: the
    loss of a batch then has one divisor, which can be summed over devices.

    Args:
        outputs: of the network.
        boxes: true boxes, in pixels, as `boxes` of `types.Example`.
        visible: as `box_visible`; a row with 0 is no box.
        labels: class of each box; a row with -1 is no box.
    """
    answers = split(outputs)
    wanted = targets(answers.locations, boxes, visible, labels)
    positive = (wanted.labels >= 0).astype(jnp.float32)
    classes = answers.logits.shape[-1]
    class_losses = sigmoid_focal(answers.logits, jax.nn.one_hot(wanted.labels, classes, dtype=jnp.float32))
    pair = (edges(answers.locations, distances) for distances in (answers.distances, wanted.distances))
    centerness_losses = optax.sigmoid_binary_cross_entropy(answers.centerness, wanted.centerness)
    return Losses(
        class_losses.sum(1),
        (positive * wanted.centerness * generalized_iou(*pair)).sum(1),
        (positive * centerness_losses).sum(1),
        jnp.maximum(positive.sum(1), 1.0),
    )


def distillation(outputs: Outputs, teacher: Outputs) -> Float[Array, " b"]:
    """Returns the distance of a detector's answers to those of its teacher, for each image; 0.0 where they are equal.

    Every location learns the teacher's class probabilities (quality focal loss), and its box (1 - generalized IoU) and
    centerness (KL divergence) with a weight: the teacher's highest class probability times its centerness. The sum over
    all locations is divided by the sum of the weights, at least 1. Unlike in Dense Teacher (arXiv 2207.02541), no
    locations are chosen: those where the teacher sees nothing learn that.

    Args:
        outputs: of the network.
        teacher: of its teacher for the same images, at the same locations; they get no gradient.

    Raises: UserError where their locations differ.
    """
    if outputs.shape != teacher.shape:
        places, theirs = outputs.shape[1], teacher.shape[1]
        raise UserError(f"teacher: answers at {theirs} locations, and the network at {places}; give both one `strides`")
    answers, taught = split(outputs), split(jax.lax.stop_gradient(teacher))
    probabilities, centerness = jax.nn.sigmoid(taught.logits), jax.nn.sigmoid(taught.centerness)
    sure = probabilities.max(-1) * centerness
    boxes = generalized_iou(*(edges(taught.locations, each.distances) for each in (answers, taught)))
    own, best = (optax.sigmoid_binary_cross_entropy(x.centerness, centerness) for x in (answers, taught))
    of_locations = quality_focal(answers.logits, probabilities) + sure * (boxes + own - best)
    distances: Array = of_locations.sum(1) / jnp.maximum(sure.sum(1), 1.0)
    return distances


def located(
    outputs: Outputs, boxes: Float[Array, "b n 4"], visible: Float[Array, "b n"], labels: Int[Array, "b n"]
) -> Float[Array, " b"]:
    """Returns the share of the locations with a box whose own box has an IoU of 0.5 or more with it; 1.0 without boxes.

    Args:
        outputs: of the network.
        boxes: as for `losses`.
        visible: as for `losses`.
        labels: as for `losses`.
    """
    answers = split(outputs)
    wanted = targets(answers.locations, boxes, visible, labels)
    pair = (edges(answers.locations, distances) for distances in (answers.distances, wanted.distances))
    overlap = intersection_over_union(*(jnp.moveaxis(of_boxes, -1, 0) for of_boxes in pair))
    positive = wanted.labels >= 0
    count = positive.sum(1)
    return jnp.where(count > 0, (positive & (overlap >= 0.5)).sum(1) / jnp.maximum(count, 1), 1.0)


def split(outputs: Outputs) -> Answers:
    """Returns the parts of outputs.

    Args:
        outputs: of the network.
    """
    where = jax.lax.index_in_dim(outputs[..., -3:], 0, keepdims=False)  # outputs[0] asks how many images there are
    return Answers(
        outputs[..., :-BEHIND], outputs[..., -BEHIND], outputs[..., -7:-3], Locations(where[:, :2], where[:, 2])
    )


def edges(locations: Locations, distances: Float[Array, "b l 4"]) -> Float[Array, "b l 4"]:
    """Returns boxes (left, top, right, bottom) in pixels.

    Args:
        locations: inside of the boxes.
        distances: to the left, top, right and bottom edge, in pixels.
    """
    centers = jnp.asarray(locations.centers)
    return jnp.concatenate([centers - distances[..., :2], centers + distances[..., 2:]], axis=-1)


def decode(
    outputs: Outputs,
    *,
    most: int = 100,
    candidates: int = 1000,
    iou: float = 0.6,
    minimum_score: float = 0.05,
    minimum_probability: float = 0.0,
) -> Detections:
    """Returns the best boxes of images after non-maximum suppression, by descending score.

    The score of a location and a class is sqrt(probability of the class x centerness).

    Args:
        outputs: of the network.
        most: boxes of an image, k.
        candidates: best pairs of a location and a class of an image, before the suppression; not below `most`.
        iou: IoU in 0..1 above which the box of the lower score is dropped.
        minimum_score: lowest score, in 0..1.
        minimum_probability: lowest probability of the class, in 0..1.

    Returns:
        boxes float32 [b k 4], scores float32 [b k], labels int32 [b k], valid bool [b k]; zeros where `valid` is False.

    Raises: UserError for less than `most` candidates.
    """
    if candidates < most:
        raise UserError(f"candidates: {candidates} is less than most = {most}; take as many or more")
    answers = split(outputs)
    classes = answers.logits.shape[-1]
    probabilities = jax.nn.sigmoid(answers.logits)
    scores = jnp.sqrt(probabilities * jax.nn.sigmoid(answers.centerness)[..., None])
    there = answers.locations
    corner = (there.centers + there.strides[:, None] / 2.0).max(0)  # lower right, of the image
    boxes = jnp.clip(edges(there, answers.distances), 0.0, jnp.tile(corner, 2))

    def of_image(
        scores: Float[Array, "l classes"], probabilities: Float[Array, "l classes"], boxes: Float[Array, "l 4"]
    ) -> Detections:
        best, pair = jax.lax.top_k(scores.reshape(-1), min(candidates, scores.size))
        best_boxes = {
            "boxes": boxes[pair // classes],
            "scores": best,
            "labels": pair % classes,
            "valid": (best >= minimum_score) & (probabilities.reshape(-1)[pair] >= minimum_probability),
        }
        one_model = {name: values[None] for name, values in best_boxes.items()}
        kept = nms(one_model, jnp.ones(1), iou)
        missing = max(most - len(best), 0)  # a small image has fewer pairs
        return {
            name: jnp.pad(values[:most], ((0, missing), *[(0, 0)] * (values.ndim - 1))) for name, values in kept.items()
        }

    detections: Detections = jax.vmap(of_image)(scores, probabilities, boxes)
    return detections
