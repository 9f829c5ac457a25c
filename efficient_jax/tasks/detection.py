"""Objects with a class and a box.

Labels are rows of boxes, float32 [n most 6], see `detection.rows`; all is -1 in an image that nobody has labelled.
Predictions are such rows with scores. What a network answers is decoded by `detection.fcos`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from efficient_jax.data.stratification import SEVERAL_LABELS
from efficient_jax.detection import fcos
from efficient_jax.detection.detections import Found
from efficient_jax.detection.mean_average_precision import coco_figures, mean_average_precision
from efficient_jax.detection.overlap import area
from efficient_jax.detection.rows import CLASS, ROW, VISIBLE, apart, at_least, boxes_of, filled, packed
from efficient_jax.errors import UserError
from efficient_jax.tasks.base import Task
from efficient_jax.types import Batch, Column, Example

Labels = Float[np.ndarray, "n _rows 6"]
Predictions = Float[np.ndarray, "n _rows 6"]
NO_LABEL = -1.0
LOWEST = 0.05  # score of the least certain prediction that is kept
SHOWN = 0.5  # score from which on a prediction counts as an answer where one is shown


def members(labels: Labels, classes: int) -> Bool[np.ndarray, "n k"]:
    """Returns which image shows an object of which class.

    Args:
        labels: the objects of each image.
        classes: number of classes k.
    """
    there = labels[..., VISIBLE] > 0
    return np.stack([np.any(there & (labels[..., CLASS] == index), 1) for index in range(classes)], 1)


def image_labels(labels: Labels, classes: int) -> Int[np.ndarray, "n k"]:
    """Returns 1 for each class that an image shows, else 0, a row of -1 for images without a label.

    Args:
        labels: the objects of each image.
        classes: number of classes k.
    """
    known = np.any(labels != NO_LABEL, (1, 2))
    return np.where(known[:, None], members(labels, classes).astype(np.int32), -1)


def of_source(labels: Int[np.ndarray, "n k"], objects: Mapping[str, np.ndarray]) -> Labels:
    """Returns the objects of a dataset as labels.

    Args:
        labels: 1 for each class that an image shows, a row of -1 where nobody has labelled it.
        objects: "boxes", "box_label" and "box_visible" of all images.
    """
    made = packed(objects["boxes"], objects["box_label"], objects["box_visible"])
    made = filled(made, max(1, made.shape[1]))
    made[np.all(labels < 0, 1)] = NO_LABEL
    return made


def replaced(
    labels: Labels, ids: Int[np.ndarray, " m"], made: Float[np.ndarray, "m _made 6"]
) -> Float[np.ndarray, "n _filled 6"]:
    """Returns labels in which some images have other ones.

    Args:
        labels: the objects of each image.
        ids: indices of the images.
        made: their objects, of any number.
    """
    most = max(labels.shape[1], made.shape[1])
    unknown = np.all(labels == NO_LABEL, (1, 2))
    wider = filled(labels, most)
    wider[unknown] = NO_LABEL
    wider[ids] = filled(made, most)
    return wider


def entries(labels: Labels) -> dict[str, np.ndarray]:
    """Returns the objects that move with images, see `types.Example`.

    Args:
        labels: the objects of each image.
    """
    there = labels[..., VISIBLE] > 0
    return {
        "boxes": np.where(there[..., None], labels[..., :4], 0.0).astype(np.float32),
        "box_visible": np.where(there, labels[..., VISIBLE], 0.0).astype(np.float32),
        "box_label": np.where(there, labels[..., CLASS], -1).astype(np.int32),
    }


def view_targets(views: Batch) -> Float[Array, "b _rows 6"]:
    """Returns the objects of augmented examples as labels.

    Args:
        views: their objects as from `entries`.
    """
    columns = views["box_label"].astype(jnp.float32)[..., None], views["box_visible"][..., None]
    return jnp.concatenate([views["boxes"], *columns], -1)


def resized(labels: Labels, before: tuple[int, int], size: int) -> Labels:
    """Returns the labels of images that are resized to squares.

    Args:
        labels: the objects of each image.
        before: height and width of the images in pixels.
        size: side of the squares in pixels.
    """
    height, width = before
    scale = np.array([size / width, size / height] * 2, np.float32)
    moved = np.concatenate([labels[..., :4] * scale, labels[..., 4:]], -1)
    return np.where(labels[..., VISIBLE:] > 0, moved, labels)


def loss(
    logits: Float[Array, "b l outputs"], targets: Float[Array, "b _rows 6"], label_smoothing: float = 0.0
) -> Float[Array, " b"]:
    """Returns the loss of FCOS of each image, divided by the number of its locations with a box.

    Args:
        logits: of each location, see `detection.fcos`.
        targets: the objects of each image.
        label_smoothing: 0.0; the focal loss has none.

    Raises: UserError for another `label_smoothing`.
    """
    if label_smoothing:
        raise UserError("label_smoothing: boxes are learned with a focal loss, which has none; set it to 0.0")
    parts = fcos.losses(logits, targets[..., :4], targets[..., VISIBLE], targets[..., CLASS].astype(jnp.int32))
    return (parts.classes + parts.boxes + parts.centerness) / parts.weight


def right(logits: Float[Array, "b l outputs"], targets: Float[Array, "b _rows 6"]) -> Float[Array, " b"]:
    """Returns the share of the locations with a box whose predicted box overlaps it with an IoU of 0.5 or more.

    Args:
        logits: of each location.
        targets: the objects of each image.
    """
    return fcos.located(logits, targets[..., :4], targets[..., VISIBLE], targets[..., CLASS].astype(jnp.int32))


def predictions(logits: Float[Array, "b l outputs"]) -> Float[Array, "b _rows 6"]:
    """Returns the boxes that a network means, by descending score, after non-maximum suppression.

    Args:
        logits: of each location; or such boxes, which stay as they are.
    """
    if logits.shape[-1] == ROW:
        return logits
    return _rows(fcos.decode(logits, minimum_score=LOWEST))


def guesses(logits: Float[Array, "b l outputs"], threshold: float) -> Example:
    """Returns the objects that a network predicts with at least this probability of the class, see `entries`.

    The score of a box, which has the centerness too, would choose worse: of few labels centerness is learned badly
    (Unbiased Teacher v2, arXiv 2206.09500).

    Args:
        logits: of each location.
        threshold: probability in 0..1.
    """
    kept = fcos.decode(logits, minimum_score=LOWEST, minimum_probability=threshold)
    return {
        "boxes": kept["boxes"],
        "box_visible": kept["valid"].astype(jnp.float32),
        "box_label": jnp.where(kept["valid"], kept["labels"], -1),
    }


def _rows(detections: Mapping[str, Array]) -> Float[Array, "b _rows 6"]:
    valid = detections["valid"]
    classes = jnp.where(valid, detections["labels"], -1).astype(jnp.float32)
    return jnp.concatenate([detections["boxes"], classes[..., None], detections["scores"][..., None]], -1)


def pseudo_labels(
    predictions: Predictions, seed: int, *, threshold: float = 0.5
) -> tuple[Labels, Int[np.ndarray, " n"]]:
    """Returns the predicted boxes whose score reaches the threshold as labels.

    Args:
        predictions: of the teacher.
        seed: not used.
        threshold: score from which on a box is learned, in 0..1.

    Returns: (labels; 1 for each image that has any box, else 0).

    Raises: UserError for a threshold out of range.
    """
    del seed
    if not 0.0 <= threshold <= 1.0:
        raise UserError(f"pseudo_labels.threshold: {threshold} is not in 0.0 .. 1.0")
    rows = at_least(predictions, threshold)
    kept = rows[..., VISIBLE] > 0
    rows[..., VISIBLE] = kept
    return rows, np.asarray(kept.any(1), np.int32)


def counts(predictions: Predictions, labels: Labels, answers: Predictions) -> dict[str, float]:
    """Returns COCO's average precision "ap", "ap50" and "ap75", the number of true "objects", and "n" images.

    Args:
        predictions: boxes with scores.
        labels: true objects.
        answers: not used.
    """
    del answers
    truth = [boxes_of(rows) for rows in labels]
    objects = sum(len(of_image["labels"]) for of_image in truth)
    figures = dict.fromkeys(("ap", "ap50", "ap75"), float("nan"))
    if objects:
        measured = mean_average_precision([boxes_of(rows) for rows in predictions], truth)
        figures = {name: measured[name] for name in figures}
    return {**figures, "objects": objects, "n": len(labels)}


def test_figures(
    predictions: Predictions,
    labels: Labels,
    answers: Predictions,
    classes: Sequence[str],
    pixel_areas: Float[np.ndarray, " n"] | None,
) -> dict[str, Any]:
    """Returns COCO's average precision and recall, also of small, medium and large objects, see `coco_figures`.

    The area of an object is that of its box. Crowds are not among the labels of a dataset: boxes in them are wrong.

    Args:
        predictions: boxes with scores.
        labels: true objects.
        answers: not used.
        classes: name of each class.
        pixel_areas: area of a pixel of each image in pixels of the original; None: 1.

    Returns: the figures, NaN where there are no such objects; "class_ap", the average precision of each class, None
        where no image shows it.
    """
    del answers
    factors = np.ones(len(labels)) if pixel_areas is None else pixel_areas
    truth, found = (
        [_measured(boxes_of(of_image), factor) for of_image, factor in zip(rows, factors, strict=True)]
        for rows in (labels, predictions)
    )
    if not any(len(of_image["labels"]) for of_image in truth):
        return {"class_ap": dict.fromkeys(classes)}
    figures = coco_figures(found, truth)
    each = dict(zip(figures.pop("classes").tolist(), figures.pop("each").mean(1).tolist(), strict=True))
    return figures | {"class_ap": {name: each.get(index) for index, name in enumerate(classes)}}


def _measured(boxes: Found, pixel_area: float) -> Found:
    return boxes | {"areas": area(boxes["boxes"].astype(np.float64)) * pixel_area}


def severity(predictions: Predictions, labels: Labels) -> Float[np.ndarray, " n"]:
    """Returns how wrong each image is: one less its own average precision at an IoU of 0.5.

    Args:
        predictions: boxes with scores.
        labels: true objects.
    """
    of_images = [counts(p[None], t[None], p[None])["ap50"] for p, t in zip(predictions, labels, strict=True)]
    precise = np.nan_to_num(np.array(of_images), nan=0.0)
    empty = np.array([not (rows[:, VISIBLE] > 0).any() for rows in labels], bool)
    highest = predictions[..., VISIBLE].max(1, initial=0.0)  # of an image without objects: how sure it is of one
    wrong: np.ndarray = np.where(empty, highest, 1.0 - precise).astype(np.float64)
    return wrong


def _no_columns(*_: object) -> Any:
    raise UserError("boxes do not fit into a .csv; take a .json")


COLUMNS = (Column("ap50", "AP50, %"), Column("ap75", "AP75, %"), Column("ap", "AP, %"))

DETECTION = Task(
    name="detection",
    labels="objects",
    one_class=False,
    by_image=False,
    exclusive=False,
    stratification=SEVERAL_LABELS._replace(of_images=image_labels),
    label_shape=lambda shape: shape,
    targets=lambda labels, classes: members(labels, classes).astype(np.float32),
    members=members,
    label_columns=_no_columns,
    to_columns=_no_columns,
    from_columns=_no_columns,
    loss=loss,
    probabilities=predictions,
    logits=lambda detections: detections,
    right=right,
    answers=lambda detections, _: at_least(detections, SHOWN),
    counts=counts,
    columns=COLUMNS,
    scores=lambda counts: {"ap50": counts["ap50"], "ap": counts["ap"]} if counts["objects"] else {},
    likelihood=lambda *_: {},
    metrics=lambda predictions, labels, answers, *_: counts(predictions, labels, answers),
    metric_columns=COLUMNS,
    severity=severity,
    severity_name="loss",
    no_label=-1,
    probable=False,
    decoder="boxes",
    apart=apart,
    entries=entries,
    view_targets=view_targets,
    pseudo_labels=pseudo_labels,
    guesses=guesses,
    labelled_share=lambda targets: (targets[..., VISIBLE] > 0).any(-1).astype(jnp.float32),
    of_source=of_source,
    trimmed=lambda label: label[label[:, VISIBLE] > 0],
    replaced=replaced,
    resized=resized,
    test_figures=test_figures,
    image_scores=lambda answers, labels, _: 1.0 - severity(answers, labels),
)
