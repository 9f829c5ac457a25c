"""Objects of images as arrays of one size: a row for each box, and rows that fill up.

A row is left, top, right, bottom in pixels, the class index, and the visible share of a true box or the score of a
predicted one; rows that fill up have class -1 and share 0.
"""

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.detection.detections import Found

Rows = Float[np.ndarray, "n _rows 6"]
ROW = 6  # columns; outputs of networks have more, see `fcos`
CLASS, VISIBLE = 4, 5  # columns behind the box; of predictions the latter is the score
NOTHING = np.array([0.0, 0.0, 0.0, 0.0, -1.0, 0.0], np.float32)  # a row that fills up


def packed(boxes: Float[np.ndarray, "n most 4"], classes: Int[np.ndarray, "n most"], shares: np.ndarray) -> Rows:
    """Returns labels of boxes.

    Args:
        boxes: in pixels.
        classes: class index of each; -1 where there is no box.
        shares: float [n most], the visible share of each; of predictions the score.
    """
    columns = classes[..., None], shares[..., None]
    return np.concatenate([boxes, *columns], -1).astype(np.float32)


def boxes_of(rows: Float[np.ndarray, "most 6"]) -> Found:
    """Returns the boxes of an image without rows that fill up, as `detection.detections` takes them.

    Args:
        rows: its labels or predictions.
    """
    rows = rows[rows[:, VISIBLE] > 0]
    return {"boxes": rows[:, :4], "labels": rows[:, CLASS].astype(np.int32), "scores": rows[:, VISIBLE]}


def rows_of(boxes: Found) -> Float[np.ndarray, "_rows 6"]:
    """Returns the boxes of an image as its predictions: the reverse of `boxes_of`.

    Args:
        boxes: with labels and scores.
    """
    columns = boxes["labels"][:, None], boxes["scores"][:, None]
    return np.concatenate([boxes["boxes"].reshape(-1, 4), *columns], 1).astype(np.float32)


def at_least(predictions: Rows, score: float) -> Rows:
    """Returns the predictions of at least a score, zeros and class -1 in place of the others.

    Args:
        predictions: boxes with scores.
        score: in 0..1.
    """
    kept = (predictions[..., VISIBLE] > 0) & (predictions[..., VISIBLE] >= np.float32(score))
    return np.where(kept[..., None], predictions, NOTHING)


def apart(one: Rows, other: Rows) -> float:
    """Returns how far predictions are from the nearest ones of another program, of all boxes the farthest.

    Args:
        one: predictions of n images.
        other: of the same images.

    Returns: the largest difference of scores, or of edges as shares of the largest coordinate; 1.0 or more where a box
        has no counterpart of its class.
    """
    side = max(one[..., :CLASS].max(initial=1.0), other[..., :CLASS].max(initial=1.0))
    unit = np.array([side] * CLASS + [1.0, 1.0], np.float32)
    farthest = 0.0
    for a, b in zip(one, other, strict=True):
        a, b = (rows[rows[:, VISIBLE] > 0] / unit for rows in (a, b))
        between = np.abs(a[:, None] - b).max(-1)  # classes differ by 1 or more
        nearest = [between.min(axis, initial=len(a) + len(b)) for axis in (0, 1)]
        farthest = max(farthest, *(float(values.max(initial=0.0)) for values in nearest))
    return farthest


def filled(labels: Rows, most: int) -> Float[np.ndarray, "n _filled 6"]:
    """Returns labels with more rows, which are no objects.

    Args:
        labels: of n images.
        most: rows of each image in the result.
    """
    wider = np.tile(NOTHING, (len(labels), most, 1))
    wider[:, : labels.shape[1]] = labels
    return wider
