"""FCOS (arXiv 1904.01355): the loss of a detector's outputs, and the boxes that they mean.

Outputs are the logits of a network of `models.dense.dense_boxes`, float32 [b locations classes + 5]: for each location
the logits of the classes, the logit of the centerness, and the distances to the left, top, right and bottom edge of the
box in pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from efficient_jax.detection.boxes import Detections, nms
from efficient_jax.detection.targets import Locations, targets
from efficient_jax.errors import UserError
from efficient_jax.losses.boxes import generalized_iou, sigmoid_focal

Outputs = Float[Array, "b l outputs"]
BOX = 5  # numbers behind the class logits: centerness and four distances


class Losses(NamedTuple):
    """The losses of each image, sums over its locations; a batch's loss is the sum of all / the sum of `weight`."""

    classes: Float[Array, " b"]  # focal loss of all locations
    boxes: Float[Array, " b"]  # 1 - generalized IoU of the locations with a box, times their centerness
    centerness: Float[Array, " b"]  # cross entropy of the centerness of the locations with a box
    weight: Float[Array, " b"]  # locations with a box; an image without any counts as one


def losses(
    outputs: Outputs,
    locations: Locations,
    boxes: Float[Array, "b n 4"],
    visible: Float[Array, "b n"],
    labels: Int[Array, "b n"],
) -> Losses:
    """Returns the losses of images.

    The box loss is divided by the number of locations, not by the sum of their centerness as in the authors' code: the
    loss of a batch then has one divisor, which can be summed over devices.

    Args:
        outputs: of the network.
        locations: `targets.locations` of the size of the images and the strides of the network.
        boxes: true boxes, in pixels, as `boxes` of `types.Example`.
        visible: as `box_visible`; a row with 0 is no box.
        labels: class of each box; a row with -1 is no box.

    Raises: UserError for locations of another network or size.
    """
    logits, centerness_logits, distances = split(outputs, locations)
    wanted = targets(locations, boxes, visible, labels)
    positive = (wanted.labels >= 0).astype(jnp.float32)
    of_classes = sigmoid_focal(logits, jax.nn.one_hot(wanted.labels, logits.shape[-1], dtype=jnp.float32))
    of_boxes = generalized_iou(edges(locations, distances), edges(locations, wanted.distances))
    of_centerness = optax.sigmoid_binary_cross_entropy(centerness_logits, wanted.centerness)
    return Losses(
        of_classes.sum(1),
        (positive * wanted.centerness * of_boxes).sum(1),
        (positive * of_centerness).sum(1),
        jnp.maximum(positive.sum(1), 1.0),
    )


def split(
    outputs: Outputs, locations: Locations
) -> tuple[Float[Array, "b l classes"], Float[Array, "b l"], Float[Array, "b l 4"]]:
    """Returns (class logits, centerness logits, distances in pixels) of outputs.

    Args:
        outputs: of the network.
        locations: those that it answers for.

    Raises: UserError for locations of another network or size.
    """
    count, width = outputs.shape[1:]
    if count != len(locations.strides) or width <= BOX:
        raise UserError(
            f"outputs are {list(outputs.shape)}, want [images, {len(locations.strides)} locations, classes + {BOX}]; "
            "are the locations those of the network's strides and of the size of its images?"
        )
    return outputs[..., :-BOX], outputs[..., -BOX], outputs[..., -4:]


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
    locations: Locations,
    image_shape: tuple[int, ...],
    *,
    most: int = 100,
    candidates: int = 1000,
    iou: float = 0.6,
    minimum_score: float = 0.05,
) -> Detections:
    """Returns the best boxes of images after non-maximum suppression, by descending score.

    The score of a location and a class is sqrt(probability of the class x centerness).

    Args:
        outputs: of the network.
        locations: those that it answers for.
        image_shape: (height, width), or with channels, of the images in pixels, to which boxes are clipped.
        most: boxes of an image, k.
        candidates: best pairs of a location and a class of an image, before the suppression; not below `most`.
        iou: IoU in 0..1 above which the box of the lower score is dropped.
        minimum_score: lowest score, in 0..1.

    Returns:
        boxes float32 [b k 4], scores float32 [b k], labels int32 [b k], valid bool [b k]; zeros where `valid` is False.

    Raises: UserError for locations of another network or size, and for less than `most` candidates.
    """
    if candidates < most:
        raise UserError(f"candidates: {candidates} is less than most = {most}; take as many or more")
    logits, centerness_logits, distances = split(outputs, locations)
    classes = logits.shape[-1]
    scores = jnp.sqrt(jax.nn.sigmoid(logits) * jax.nn.sigmoid(centerness_logits)[..., None])
    height, width = image_shape[:2]
    boxes = jnp.clip(edges(locations, distances), 0.0, jnp.array([width, height, width, height], jnp.float32))

    def of_image(scores: Float[Array, "l classes"], boxes: Float[Array, "l 4"]) -> Detections:
        best, pair = jax.lax.top_k(scores.reshape(-1), min(candidates, scores.size))
        found = {
            "boxes": boxes[pair // classes],
            "scores": best,
            "labels": pair % classes,
            "valid": best >= minimum_score,
        }
        one_model = {name: values[None] for name, values in found.items()}
        kept = nms(one_model, jnp.ones(1), iou)
        missing = max(most - len(best), 0)  # a small image has fewer pairs
        return {
            name: jnp.pad(values[:most], ((0, missing), *[(0, 0)] * (values.ndim - 1))) for name, values in kept.items()
        }

    detections: Detections = jax.vmap(of_image)(scores, boxes)
    return detections
